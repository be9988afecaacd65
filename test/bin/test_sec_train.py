import pytest
import torch
import yaml
from tiny_training import ALL, align_conf, command, make_corpus, write

from espnet2_secap.bin import sec_train


def test_help_has_the_options_of_espnet_and_of_this_task():
    options = {action.dest for action in sec_train.get_parser()._actions}
    assert {"max_epoch", "resume", "model", "bridge", "checkpoint_interval"} <= options


@pytest.mark.parametrize("text", ["a: [1", "a: b: c"])
def test_a_configuration_that_is_not_yaml(tmp_path, capsys, text):
    (tmp_path / "train.yaml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        sec_train.main(["--config", str(tmp_path / "train.yaml"), "--output_dir", str(tmp_path / "exp")])
    err = capsys.readouterr().err.splitlines()
    assert caught.value.code == 1 and "train.yaml: not a YAML file" in err[-1]


def test_a_training_leaves_its_files_and_resumes_from_them(tiny_llama, tmp_path):
    corpus, output = make_corpus(tmp_path), tmp_path / "exp"
    conf = write(tmp_path / "align.yaml", align_conf(tiny_llama))
    sec_train.main([*command(corpus, output, conf, ALL), "--max_epoch", "1"])
    first = torch.load(output / "1epoch.pth", weights_only=True)
    sec_train.main(command(corpus, output, conf, ALL))  # two epochs
    assert yaml.safe_load((output / "config.yaml").read_text())["max_epoch"] == 2
    epochs = {line.split("\t")[0] for line in (output / "curves.tsv").read_text().splitlines()[1:]}
    second = torch.load((output / "latest.pth").resolve(), weights_only=True)
    assert epochs == {"1", "2"} and first.keys() == second.keys()
    assert any(not torch.equal(first[key], second[key]) for key in first)

import json
import shutil

import pytest
from tiny_training import ALL, align_conf, command, make_corpus, write

from espnet2_secap.bin import sec_probe, sec_train


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    """A corpus, and the model file of a first stage trained on it for an epoch."""
    folder = tmp_path_factory.mktemp("probe")
    corpus = make_corpus(folder)
    shapes = (line.split(",")[0] for line in (corpus / "shape").read_text().splitlines())
    (corpus / "utt2num_frames").write_text("".join(f"{line}\n" for line in shapes))
    conf = write(folder / "align.yaml", align_conf(tiny_llama))
    sec_train.main([*command(corpus, folder / "exp", conf, ALL), "--max_epoch", "1"])
    return corpus, folder / "exp" / "valid.loss.best.pth"


@pytest.fixture(scope="module")
def other(trained, tmp_path_factory):
    """The same utterances as another set."""
    return shutil.copytree(trained[0], tmp_path_factory.mktemp("sets") / "other", ignore=lambda *_: ["exp"])


def options(corpus, other, model_file, *more) -> list[str]:
    return ["--model_files", str(model_file), "--train_dir", str(corpus), "--test_dirs", str(other), *more]


def test_a_file_next_to_the_model_says_what_the_probes_reach(trained, other, capsys):
    corpus, model_file = trained
    labels = ["--label_dirs", str(corpus), str(other)]
    sec_probe.main(options(corpus, other, model_file, *labels, "--output_name", "mine.json", "--batch_size", "3"))
    probe = json.loads((model_file.parent / "mine.json").read_text())
    assert probe["system"] == "exp" and probe["set"] == "other"
    # eight utterances, half of each emotion, those that were fitted; all say the same sentence
    assert probe["emotion"]["n"] == 8 and probe["emotion"]["chance"] == 0.5 <= probe["emotion"]["accuracy"] <= 1
    assert probe["sentence"]["accuracy"] is None and probe["sentence"]["reason"]
    assert "exp: emotion probe " in capsys.readouterr().out


def test_a_label_folder_is_missing(trained, other, capsys):
    corpus, model_file = trained
    with pytest.raises(SystemExit):
        sec_probe.main(options(corpus, other, model_file, "--label_dirs", str(corpus)))
    assert "sec_probe: error: --label_dirs: expected one folder" in capsys.readouterr().err

import argparse
import re
import subprocess
import sys

import pytest
import yaml

from espnet2_secap.bin.sec_params import defaults, main
from espnet2_secap.metric.words import load_words
from espnet2_secap.tasks.params import parts_of


def rows(out: str) -> dict[str, list[str]]:
    """name -> [trained, total], as printed."""
    return {name: cells for name, *cells in (re.split(r"  +", line.strip()) for line in out.splitlines()[1:])}


@pytest.mark.parametrize(
    "config, row, trained, total",
    [("align_large", "all that Table 1 counts", "100", "517"), ("caption_large", "all", "103", "7.4")],
)
def test_table_1(repo, capsys, config, row, trained, total):
    main(["--config", str(repo / "egs2" / "emospeech" / "sec1" / "conf" / f"{config}.yaml")])
    cells = rows(capsys.readouterr().out)[row]
    digits = len(total.split(".")[1]) if "." in total else 0
    assert f"{float(cells[0].split()[0]):.0f} {cells[0].split()[1]}" == f"{trained} M"
    assert f"{float(cells[1].split()[0]):.{digits}f}" == total
    assert cells[1].split()[1] == ("B" if "." in total else "M")


def test_what_is_trained_and_what_is_not(repo, tmp_path, capsys, tiny_llama):
    conf = yaml.safe_load((repo / "egs2" / "emospeech" / "sec1" / "conf" / "caption.yaml").read_text())
    conf["decoder_conf"] = {"path": tiny_llama, "freeze": False}
    conf["bridge"], conf["bridge_conf"] = "linear", {"hidden_size": 10}
    (tmp_path / "caption.yaml").write_text(yaml.safe_dump(conf))
    main(["--config", str(tmp_path / "caption.yaml")])
    found = rows(capsys.readouterr().out)
    assert found["bridge linear"][0] == found["bridge linear"][1] == "0.0 M"
    assert found["decoder"][0] == found["decoder"][1] != "-"
    assert found["speech encoder"] == ["-", "315.4 M"]


def test_htsat_and_bart(repo, capsys):
    main(["--config", str(repo / "egs2/emospeech/sec1/conf/caption_htsat_bart_large.yaml")])
    found = rows(capsys.readouterr().out)
    assert found["speech encoder"] == ["27.5 M", "27.5 M"], "HTSAT without its head"
    assert found["decoder"][0] == found["decoder"][1] and found["decoder"][0] != "-"


def test_unknown_model(repo, capsys):
    with pytest.raises(SystemExit):
        config = repo / "egs2" / "emospeech" / "sec1" / "conf" / "align_large.yaml"
        main(["--config", str(config), "--upstream", "no/such-hubert"])
    assert "no/such-hubert: neither a folder with config.json" in capsys.readouterr().err


def test_lora_and_the_text_projection_count(repo, tmp_path, capsys, tiny_llama, tiny_bert):
    conf = {"model": "caption", "decoder_conf": {"path": tiny_llama, "lora": {"r": 2, "target_modules": ["q_proj"]}}}
    bridge = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
    (tmp_path / "caption.yaml").write_text(yaml.safe_dump(conf | {"bridge_conf": bridge}))
    args = argparse.Namespace(**defaults() | conf | {"bridge_conf": bridge})
    found = {part.name: part for part in parts_of(args, "TencentGameMate/chinese-hubert-large", tiny_bert)}
    assert found["LoRA of the decoder"].count == 2 * (32 * 2 + 2 * 32) and found["LoRA of the decoder"].trained
    align = {"model": "align", "text_encoder": "bert", "text_encoder_conf": {"path": tiny_bert}, "bridge_conf": bridge}
    found = {part.name: part for part in parts_of(argparse.Namespace(**defaults() | align), tiny_bert, tiny_bert)}
    assert found["linear from the text encoder"].count == 32 * 16 + 16


@pytest.mark.parametrize(
    "condition, parts",
    [
        (["queries"], {"linear to the decoder": 1, "linear from the text encoder": 0, "speech encoder": 1}),
        (
            ["text_queries", "queries"],
            {"linear to the decoder": 2, "linear from the text encoder": 1, "text encoder": 1},
        ),
        (["transcript"], {"linear to the decoder": 0, "speech encoder": 0, "text encoder": 0, "decoder": 1}),
    ],
)
def test_the_parts_of_a_condition(condition, parts, tiny_llama, tiny_bert):
    bridge = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
    conf = {"model": "caption", "decoder_conf": {"path": tiny_llama}, "model_conf": {"condition": condition}}
    conf |= {"text_encoder": "bert", "text_encoder_conf": {"path": tiny_bert}, "bridge_conf": bridge}
    names = [part.name for part in parts_of(argparse.Namespace(**defaults() | conf), tiny_bert, tiny_bert)]
    assert {name: names.count(name) for name in parts} == parts


def test_an_encoder_decoder_and_its_lora(tmp_path, capsys):
    """bart-base has 139.4 M parameters, the Chinese one 140.2 M; LoRA of rank 2 on the q_proj of 18 attentions."""
    lora = {"r": 2, "target_modules": ["q_proj"]}
    for path, total in (("facebook/bart-base", "139.4 M"), ("fnlp/bart-base-chinese", "140.2 M")):
        conf = {"model": "caption", "decoder": "seq2seq", "decoder_conf": {"path": path, "lora": lora}}
        (tmp_path / "caption.yaml").write_text(yaml.safe_dump(conf | {"bridge": "linear"}))
        main(["--config", str(tmp_path / "caption.yaml")])
        found = rows(capsys.readouterr().out)
        assert found["decoder"] == ["-", total]
        assert found["LoRA of the decoder"] == [f"{18 * 2 * 2 * 768 / 1e6:.1f} M"] * 2


def test_the_head_of_the_attributes_counts(tiny_llama):
    bridge = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
    weights = {"attributes_weight": 0.3, "attributes_only": ["rate", "volume"]}
    conf = {"model": "caption", "decoder_conf": {"path": tiny_llama}, "bridge_conf": bridge, "model_conf": weights}

    def head(**more):
        args = argparse.Namespace(**defaults() | conf | more)
        (found,) = (part for part in parts_of(args, "TencentGameMate/chinese-hubert-large", "") if "head" in part.name)
        assert found.trained and not found.in_paper
        return found.name, found.count

    words = load_words("zh")
    classes = len(words["rate"]) + len(words["volume"])
    assert head() == ("head of the attributes, at most", classes * 17)
    known = {"rate": {"fast": 2.0, "slow": 1.0}}
    assert head(attributes=known) == ("head of the attributes", 2 * 17)
    assert head(attributes=known, model_conf=weights | {"attributes_prompt": True})[1] == 2 * 17 + 2 * 32


@pytest.mark.slow(10)
def test_the_program_imports_no_espnet(repo):
    code = "import sys\nfrom espnet2_secap.bin.sec_params import main\nmain(sys.argv[1:])\n"
    code += "print(*(name for name in ('espnet2.tasks.abs_task', 'espnet2.train.trainer') if name in sys.modules))"
    config = repo / "egs2" / "emospeech" / "sec1" / "conf" / "align_large.yaml"
    command = [sys.executable, "-c", code, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""

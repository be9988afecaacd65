import re

import pytest
import yaml

from espnet2_secap.bin.sec_params import main


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


def test_unknown_model(repo, capsys):
    with pytest.raises(SystemExit):
        config = repo / "egs2" / "emospeech" / "sec1" / "conf" / "align_large.yaml"
        main(["--config", str(config), "--upstream", "no/such-hubert"])
    assert "no/such-hubert: neither a folder with config.json" in capsys.readouterr().err

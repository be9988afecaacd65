import json

import pytest
from tiny_decoding import decode

from espnet2_secap.bin import sec_inference


def test_bad_calls(model_file, feats, tmp_path, capsys):
    def fails(*options) -> str:
        with pytest.raises(SystemExit):
            sec_inference.main(["--data_dir", str(feats), "--output_dir", str(tmp_path / "o"), *options])
        return [line for line in capsys.readouterr().err.splitlines() if "error:" in line][-1]

    assert "--sec_model_file is missing" in fails()
    assert "no such" in fails("--sec_model_file", str(tmp_path / "none.pth"))
    (tmp_path / "bad.yaml").write_text("beam_sise: 3\n")
    assert "unknown key beam_sise" in fails("--config", str(tmp_path / "bad.yaml"))
    assert "job(s) 1, 2 of 2: not finished; run them again (stage 7)" in fails("--nj", "2", "--combine", "true")
    assert not (tmp_path / "o" / "captions").exists()


def test_more_cannot_be_kept_than_there_are(model_file, feats, tmp_path):
    with pytest.raises(SystemExit):
        decode(model_file, feats, tmp_path, "--num_candidates", "1", "--keep", "2")


def test_the_command_line_is_the_programs_own(model_file, feats, tmp_path, monkeypatch):
    """ESPnet reads defaults from sys.argv, where a decoding's --config would be taken for a training's."""
    (tmp_path / "decode.yaml").write_text("sampling: false\n")
    options = ["--config", str(tmp_path / "decode.yaml")]
    monkeypatch.setattr("sys.argv", ["sec_inference", *options])
    assert len(decode(model_file, feats, tmp_path / "out", *options)) == 7


def test_published_decoding_settings_are_read(model_file, feats, tmp_path, repo, tiny_bert):
    preset = repo / "egs2" / "emospeech" / "sec1" / "conf" / "decode_secap.yaml"
    rows = decode(model_file, feats, tmp_path, "--config", str(preset), "--similarity_model", str(tiny_bert))
    captions = [json.loads(line.split(" ", 1)[1]) for line in (tmp_path / "captions").read_text().splitlines()]
    assert all(len(row["candidates"]) == 8 and row["kept"] == 5 for row in rows)
    assert all(len(some) == 5 for some in captions)

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


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ("keep: null\n", "keep None: must be an integer, at least 0"),
        ("beam_size: '5'\n", "beam_size '5': must be an integer, between 1 and 1000"),
        ("beam_size: true\n", "beam_size True: must be an integer"),
        ("beam_size: 5000\n", "beam_size 5000: must be between 1 and 1000"),
        ("top_k: -1\n", "top_k -1: must be at least 0"),
        ("top_p: [0.9]\n", "top_p [0.9]: must be a number, above 0 and at most 1"),
        ("temperature: .nan\n", "temperature nan: must be a number"),
        ("temperature: 0\n", "temperature 0: must be between 0.0001 and 1000"),
        ("seed: -1\n", "seed -1: must be between 0 and 2147483647"),
        ("prompt: 5\n", "prompt 5: must be text or none"),
        ("dtype: float8\n", "dtype 'float8': must be one of float32, bfloat16, float16"),
        ("nj: 0\n", "nj 0: must be at least 1"),
        ("beam: 3\n", "unknown key beam; see --help"),
        ("seed: 1\nseed: 2\n", "not a YAML file: line 2: the key 'seed' is there twice"),
        ("- beam_size\n", "not a YAML file of options"),
        ("num_candidates: 3\n", "3 candidates of beam_size 1"),
        ("min_length: 9\nmax_length: 3\n", "--min_length 9: is above --max_length 3"),
    ],
)
def test_decoding_values_of_a_file_are_named_in_one_line_before_anything_is_loaded(tmp_path, capsys, conf, said):
    (tmp_path / "decode.yaml").write_text(conf)
    args = ["--sec_model_file", "no.pth", "--data_dir", "no", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        sec_inference.main([*args, "--config", str(tmp_path / "decode.yaml")])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert "decode.yaml: " in lines[0] or said.startswith(("--", "3 "))


def test_an_empty_file_of_decoding_options_gives_the_defaults(tmp_path):
    (tmp_path / "decode.yaml").write_text("# nothing\n")
    argv = ["--data_dir", "d", "--output_dir", "o", "--config", str(tmp_path / "decode.yaml")]
    assert sec_inference.parse(argv).beam_size == 1
    (tmp_path / "decode.yaml").write_text("temperature: 5e-1\nbeam_size: 2.0\n")
    args = sec_inference.parse(argv)
    assert (args.temperature, args.beam_size) == (0.5, 2) and isinstance(args.beam_size, int)

import json

import pytest
from tiny_pairs import PROMPT, make_pairs, prepare, refer, rows_of

from espnet2_secap.bin import sec_reference


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("pairs")
    prepare(folder, tiny_llama)
    return folder


def test_alone_and_by_jobs_it_writes_the_same(place, capsys):
    outputs = [place / "alone", place / "jobs"]
    refer(place, "--held_out", "0.3", "--output_dir", str(outputs[0]))
    assert "of 4 train utterances, 8 train pairs, 2 valid utterances, 4 valid pairs" in capsys.readouterr().out
    options = ["--held_out", "0.3", "--output_dir", str(outputs[1]), "--nj", "2"]
    for more in (["--job", "1"], ["--job", "2"], ["--combine", "true"]):
        refer(place, *options, *more)
    for name in ("pairs.train", "pairs.valid", "shape.train", "shape.valid", "reference.json"):
        assert (outputs[0] / name).read_text() == (outputs[1] / name).read_text(), name
    assert not (outputs[1] / ".jobs").exists()


def test_pairs_of_several_files_and_the_experiments_folder(place, tmp_path):
    one, two = make_pairs(tmp_path / "one.jsonl", ["u0", "u1"]), make_pairs(tmp_path / "two.jsonl", ["u7"], each=1)
    refer(place, "--pairs", one, two, "--sec_model_file", str(place / "start"), "--output_dir", str(tmp_path / "out"))
    assert {utt: len(some) for utt, some in rows_of(tmp_path / "out/pairs.train").items()} == {
        "u0": 2,
        "u1": 2,
        "u7": 1,
    }
    assert not (tmp_path / "out/pairs.valid").exists()


def fails(place, capsys, *options) -> str:
    with pytest.raises(SystemExit) as end:
        refer(place, *options)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sec_reference: error: ")]
    assert end.value.code == 1 and len(lines) == 1
    return lines[0]


def test_bad_calls_are_one_line(place, tmp_path, capsys):
    out = ["--output_dir", str(tmp_path / "out")]

    def pairs(content: str) -> list[str]:
        (tmp_path / "bad.jsonl").write_text(content, encoding="utf-8")
        return [*out, "--pairs", str(tmp_path / "bad.jsonl")]

    row = dict(id="u9", prompt=PROMPT, chosen="高兴", rejected="悲伤", type="factuality", source="rule", margin=1.0)
    said = fails(place, capsys, *pairs(json.dumps(row)))
    assert f"bad.jsonl:1: u9: is not in {place}/feats.scp" in said
    same = row | {"id": "u0", "rejected": "高兴"}
    assert "bad.jsonl:1: u0: chosen and rejected are the same" in fails(place, capsys, *pairs(json.dumps(same)))
    assert "bad.jsonl: is empty" in fails(place, capsys, *pairs(""))
    assert "no.jsonl: does not exist" in fails(place, capsys, *out, "--pairs", "no.jsonl")
    assert "no such experiment" in fails(place, capsys, *out, "--sec_model_file", "no.pth")
    assert "neither feats.scp" in fails(place, capsys, *out, "--data_dir", str(tmp_path))
    assert "--held_out 1: must be" in fails(place, capsys, *out, "--held_out", "1")
    assert "job(s) 1, 2 of 2: not finished" in fails(place, capsys, *out, "--nj", "2", "--combine", "true")
    assert "--job 3: must be between 1 and 2" in fails(place, capsys, *out, "--nj", "2", "--job", "3")
    assert not (tmp_path / "out/pairs.train").exists()


def test_help_names_what_it_writes(capsys):
    with pytest.raises(SystemExit):
        sec_reference.main(["--help"])
    assert "reference.json" in capsys.readouterr().out

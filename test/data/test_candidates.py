"""Candidates of a decoding, and the utterances of sets."""

import json

import pytest

from espnet2_secap.data.candidates import CandidateFile, Row, forbidden_ids, ids_of
from espnet2_secap.errors import SecError


def line(utt: str, *texts: str, **more) -> bytes:
    row = more | {"id": utt, "prompt": "描述", "candidates": [{"text": text, "score": 0} for text in texts]}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def test_rows_are_read_in_any_order(tmp_path):
    path = tmp_path / "candidates.jsonl"
    path.write_bytes(
        line("u1", "愤怒", "悲伤", header={"seed": 0}) + b"\n" + line("u2") + line("u3", "快\u2028慢", clues=["愤怒"])
    )
    found = CandidateFile(path)
    assert found.ids == ["u1", "u2", "u3"]
    assert list(found.rows(["u3", "u1"])) == [
        Row("u3", "描述", ["快\u2028慢"], ["愤怒"]),
        Row("u1", "描述", ["愤怒", "悲伤"]),
    ]
    assert list(found.rows(["u2"])) == [Row("u2", "描述", [])]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is empty; run sec_inference again"),
        (line("u1") + line("u1"), ":2: u1: the id occurs twice"),
        (line("u1") + line("u2")[:-9], ":2: is not a line of candidates.jsonl"),
        (line("u1") + line("u2", "愤怒")[:-20] + b"\xff\n", ":2: is not UTF-8"),
        (b'{"id": "u1", "candidates": []}\n', ":1: is not a line of candidates.jsonl"),
        (b'{"id": 1, "prompt": "x", "candidates": []}\n', ":1: is not a line of candidates.jsonl"),
        (line("u1", clues="愤怒"), ":1: is not a line of candidates.jsonl"),
        (line("u1", clues=[1]), ":1: is not a line of candidates.jsonl"),
        (b"[" * 4000, ":1: is not a line"),
        (b"u1 x\n", ":1: is not a line"),
    ],
)
def test_what_is_no_decoding(tmp_path, data, fault):
    path = tmp_path / "candidates.jsonl"
    path.write_bytes(data)
    with pytest.raises(SecError) as err:
        CandidateFile(path)
    assert fault in str(err.value) and str(err.value).startswith(str(path)) and "\n" not in str(err.value)
    with pytest.raises(SecError, match="none: does not exist; give candidates.jsonl"):
        CandidateFile(tmp_path / "none")


def test_utterances_of_folders_and_lists(tmp_path):
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump/feats.scp").write_text("u1 a.ark:1\nu2 a.ark:2\n")
    (tmp_path / "list").write_text("t1\nt2 more\n")
    assert ids_of(tmp_path / "dump") == ["u1", "u2"] and ids_of(tmp_path / "list") == ["t1", "t2"]
    assert forbidden_ids([tmp_path / "dump", tmp_path / "list"]) == {
        "u1": f"{tmp_path}/dump", "u2": f"{tmp_path}/dump", "t1": f"{tmp_path}/list", "t2": f"{tmp_path}/list"
    }  # fmt: skip
    with pytest.raises(SecError, match="does not exist"):
        ids_of(tmp_path / "none")

"""Formats of the output, and the journal."""

import csv
import json
import subprocess
import sys

import pytest

from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.caption_output import Captioned, Journal, kind_of, write_output

ROWS = [
    Captioned("b", "x/b.wav", 0.0, 1.5, [{"text": "sad, slow", "score": -0.5}, {"text": 'a "quote"', "score": -1.0}]),
    Captioned("a-0000000-0000120", "a\udce9.wav", 0.0, 1.2, [{"text": "愤怒", "score": -0.25}]),
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jsonl", "jsonl"), ("a.CSV", "csv"), ("a.b.tsv", "tsv"), ("captions", "captions"), ("d.x/out", "captions")],
)
def test_the_ending_names_the_format(name, kind):
    assert kind_of(name) == kind


def test_another_ending_is_refused():
    with pytest.raises(SecError, match=r"--output a.json: unknown ending .json; use .jsonl, .csv or .tsv"):
        kind_of("a.json")


def test_lines_of_json(tmp_path):
    write_output(tmp_path / "a.jsonl", ROWS)
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines())
    assert first == {
        "id": "b", "file": "x/b.wav", "start": 0.0, "end": 1.5, "candidates": ROWS[0].candidates, "caption": "sad, slow"
    }  # fmt: skip
    assert second["file"] == "a?.wav" and second["caption"] == "愤怒"


@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_have_a_line_per_candidate(tmp_path, kind, delimiter):
    path = tmp_path / f"a.{kind}"
    write_output(path, ROWS)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter=delimiter))
    assert rows == [
        ["id", "file", "start", "end", "rank", "caption", "score"],
        ["b", "x/b.wav", "0.0", "1.5", "1", "sad, slow", "-0.5"],
        ["b", "x/b.wav", "0.0", "1.5", "2", 'a "quote"', "-1.0"],
        ["a-0000000-0000120", "a?.wav", "0.0", "1.2", "1", "愤怒", "-0.25"],
    ]


def test_captions_of_kaldi(tmp_path):
    write_output(tmp_path / "captions", ROWS)
    assert read_captions(tmp_path / "captions") == {"a-0000000-0000120": ["愤怒"], "b": ["sad, slow", 'a "quote"']}


def test_a_journal_gives_back_what_it_was_given(tmp_path):
    journal = Journal(tmp_path / "out", "f")
    journal.add_recording("a", [9, 99], 16000, [("a", 0, 10)])
    journal.add_captions({"a": [{"text": "愤怒", "score": -1.0}]})
    journal.close()
    again = Journal(tmp_path / "out", "f")
    assert again.recordings == {"a": {"stamp": [9, 99], "fs": 16000, "pieces": [["a", 0, 10]]}}
    assert again.captions == {"a": [{"text": "愤怒", "score": -1.0}]} and not again.replaced


def test_captions_of_a_recording_that_changed_are_forgotten(tmp_path):
    for again in (False, True):
        journal = Journal(tmp_path / "out", "f")
        if not again:
            journal.add_recording("a", [9, 99], 8000, [("a-1", 0, 10), ("a-2", 10, 20)])
            journal.add_recording("b", [9, 99], 8000, [("b", 0, 10)])
            journal.add_captions({"a-1": [], "a-2": [], "b": []})
            journal.add_recording("a", [8, 100], 8000, [("a-1", 0, 11)])
        assert set(journal.captions) == {"b"} and journal.recordings["a"]["stamp"] == [8, 100]
        journal.close()


@pytest.mark.parametrize("end", [b'{"captions": {"b": [', b'{"captions": {"b": []}}', b"\x00\x00\n", b"[1]\n", b"\n"])
def test_a_line_that_a_kill_cut_is_removed(tmp_path, end):
    journal = Journal(tmp_path / "out", "f")
    journal.add_captions({"a": []})
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + end)
    journal = Journal(tmp_path / "out", "f")
    assert journal.captions == {"a": []} and journal.path.read_bytes() == whole
    journal.add_captions({"c": []})
    journal.close()
    assert set(Journal(tmp_path / "out", "f").captions) == {"a", "c"}


@pytest.mark.parametrize("content", [b"", b"\x00", b'{"sec_cap'])
def test_a_journal_that_was_cut_in_its_first_line_begins_anew(tmp_path, content):
    (tmp_path / "out.journal").write_bytes(content)
    journal = Journal(tmp_path / "out", "f")
    assert not journal.replaced and journal.captions == {}
    assert json.loads(journal.path.read_text())["fingerprint"] == "f"


def test_a_journal_of_another_model_begins_anew(tmp_path):
    journal = Journal(tmp_path / "out", "f")
    journal.add_captions({"a": []})
    journal.close()
    journal = Journal(tmp_path / "out", "g")
    assert journal.replaced and journal.captions == {}
    journal.close()
    assert not Journal(tmp_path / "out", "g").replaced


def test_a_file_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "captions").write_text("a human's work")
    with pytest.raises(SecError, match="captions: is there already and was not written by this program"):
        Journal(tmp_path / "captions", "f")
    assert [path.name for path in tmp_path.iterdir()] == ["captions"]


def test_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(SecError, match="is a folder; name a file in it"):
        Journal(tmp_path, "f")
    (tmp_path / "file").touch()
    with pytest.raises(SecError, match="file: .*choose another path"):
        Journal(tmp_path / "file" / "out", "f")


def test_two_processes_cannot_write_to_one_output(tmp_path):
    journal = Journal(tmp_path / "out", "f")
    code = f"from espnet2_secap.inference.caption_output import Journal; Journal({str(tmp_path / 'out')!r}, 'f')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.returncode and "another sec_caption writes there" in other.stderr
    journal.close()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Characters that nobody meant, in the text that a model would be trained on."""

import json

import pytest

from espnet2_secap.bin.sec_validate_data import main
from espnet2_secap.data.remarks import remarks


def folder(tmp_path, captions, text="x"):
    (tmp_path / "wav.scp").write_text("a a.wav\nb b.wav\n")
    (tmp_path / "captions").write_text(f'a {json.dumps(captions, ensure_ascii=False)}\nb ["a calm voice"]\n')
    (tmp_path / "text").write_text(f"a {text}\nb y\n")
    return tmp_path


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("a\u200bcalm voice", "invisible characters"),
        ("\ufeffa calm voice", "invisible characters"),
        ("a calm\nvoice", "control characters"),
        ("a calm voice\u0007", "control characters"),
        ("calm &amp; slow", "HTML entities"),
        ("it&#39;s calm<br/>", "HTML entities"),
        ("caf\ufffd", "U+FFFD"),
        ("cafe\u0301", "another Unicode form than NFC"),
    ],
)
def test_each_kind_is_told_with_its_utterances(tmp_path, caption, said):
    data = folder(tmp_path, ["a voice", caption])
    (line,) = remarks(data)
    assert line.startswith(f"{data}/captions: 1 of 2 utterances (a) have ") and said in line and ";" in line + ";"


@pytest.mark.parametrize(
    "caption", ["她说“好”，很高兴", "R&B; 3 < 4 > 2", "caf\u00e9", "\u0645\u06cc\u200c\u0631\u0648\u062f"]
)
def test_nothing_is_told_of_what_people_mean(tmp_path, caption):
    assert [line for line in remarks(folder(tmp_path, [caption])) if "HTML" not in line] == []


def test_transcriptions_too_and_the_program_tells_it(tmp_path, capsys):
    data = folder(tmp_path, ["a calm &quot;voice&quot;"], "zero\u200bwidth")
    main([str(data)])
    printed = capsys.readouterr()
    assert printed.out == f"{data}: good\n"
    assert [line.split(": ")[:2] for line in printed.err.splitlines()] == [
        ["note", f"{data}/captions"],
        ["note", f"{data}/text"],
    ]


def test_broken_captions_are_the_validation_s(tmp_path):
    (tmp_path / "captions").write_text("a ['x&amp;']\n")
    assert remarks(tmp_path) == [] == remarks(tmp_path / "none")

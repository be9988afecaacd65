"""Names in the files of a data directory: they work, or end in one clear error; they never leave the output folder."""

import json
import os

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.bin.sec_format_audio import main
from espnet2_secap.bin.sec_validate_data import main as validate
from espnet2_secap.data.io import atomic_write, bad_id, file_name

GOOD = [
    *("it's", '"q"', "$(mkdir)", "`mkdir`", "a;mkdir", "a|b", "a*?[b]", "~root", "{}", "%s%n", "CON", "nul.wav", "a:b"),
    *("中文", "e\u0301", "a&b<c>", "=a", "#a", "!a", "x" * 200, "u0.tmp.1"),
    *("-rf", "--help", "../up", "a/../../b", "/etc/x", "a/b", "a\\b", "..", ".", ".hidden"),
]
BAD = [
    *("a b", "a\tb", "a\nb", "a\0b", "a\rb", "a\x1b[31mb", "\u202eb", "a\u200bb", "a\u2028b", "a\u3000b", "\ufeffa"),
    *("x" * 300, "中" * 100),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(8000) * 0.1, 16000)
    return inner


def write_data(**tables):
    os.makedirs("data", exist_ok=True)
    for name, table in tables.items():
        with open(f"data/{name.replace('_', '.')}", "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{utt} {value}\n" for utt, value in sorted(table.items()))


def run() -> bool:
    """Whether both steps work; an error of theirs is one line."""
    for more in ([], ["--combine", "true"]):
        try:
            main(["--data_dir", "data", "--output_dir", "dump/raw/train", "--role", "train", *more])
        except SystemExit as end:
            assert end.code == 1
            return False
    return True


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", GOOD + BAD, ids=ascii)
def test_ids(place, capsys, name):
    write_data(wav_scp={name: "../a.wav"}, captions={name: '["x"]'})
    before = files(place.parent)
    worked = run()
    made = {path for path in files(place.parent) - before if not path.startswith("inner/dump")}
    assert not made
    assert worked == (name in GOOD) == (bad_id(name) is None)
    if worked:
        assert files(place / "dump/raw/train/data/format.1") == {f"{file_name(name)}.wav"}
        validate(["dump/raw/train"])
    else:
        assert not (place / "dump").exists()
        errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(errors) == 1 and errors[0].startswith("sec_format_audio: error: data/")
        assert len(errors[0]) < 300 and errors[0].isprintable()


@pytest.mark.parametrize("name", GOOD + BAD, ids=ascii)
@pytest.mark.parametrize("kind", ["utt2spk", "utt2emo"])
def test_speakers_and_categories_are_text_only(place, name, kind):
    """They are no file names: anything that is one word on one line goes through as it is."""
    write_data(wav_scp={"u": "../a.wav"}, captions={"u": '["x"]'}, **{kind: {"u": name}})
    before = files(place.parent)
    worked = run()
    assert all(path.startswith("inner/dump") for path in files(place.parent) - before)
    one_word = len(name.split()) == 1 and not any(c in name for c in "\0\x1b\r\n")
    assert worked == one_word
    if worked:
        with open(f"dump/raw/train/{kind}", encoding="utf-8") as stream:
            assert stream.read() == f"u {name}\n"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/dev/zero",
        "/",
        "..",
        "../../../etc/passwd",
        "-",
        "$(mkdir)",
        "~/a.wav",
        "x" * 5000,
        "link",
        "loop",
        "fifo",
    ],  # fmt: skip
)
def test_what_is_no_recording_is_a_bad_utterance(place, path):
    os.symlink("/etc/passwd", "link")
    os.symlink("loop", "loop")
    os.mkfifo("fifo")
    write_data(wav_scp={"a": "../a.wav", "b": path}, captions={"a": '["x"]', "b": '["x"]'})
    assert run()
    with open("dump/raw/train/bad_utts.tsv", encoding="utf-8") as stream:
        assert stream.read().startswith(f"b\t{path}: ")
    with open("dump/raw/train/captions", encoding="utf-8") as stream:
        assert stream.read() == 'a ["x"]\n'


def test_links_in_the_output_folder(place, tmp_path):
    """What stands in a dump that somebody else made is replaced, not followed, and nothing beyond it is removed."""
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("file.wav", "precious.wav"):
        (victim / name).write_bytes(b"precious")
    write_data(wav_scp={"a": "../a.wav"}, captions={"a": '["x"]'})
    audio = place / "dump/raw/train/data/format.1"
    audio.mkdir(parents=True)
    (audio / "a.wav").symlink_to(victim / "file.wav")
    (audio / f"a.wav.tmp.{os.getpid()}").symlink_to(victim / "file.wav")
    (audio.parent / "format.9").symlink_to(victim)
    (audio.parents[1] / "captions").symlink_to(victim / "file.wav")
    assert run()
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == {
        "file.wav": b"precious",
        "precious.wav": b"precious",
    }
    assert not (audio / "a.wav").is_symlink() and sf.info(audio / "a.wav").frames == 8000
    assert json.loads((audio.parents[1] / "captions").read_text().split(" ", 1)[1]) == ["x"]


def test_the_part_beside_a_file_follows_no_link(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f"out.tmp.{os.getpid()}").symlink_to(tmp_path / "victim")
    with atomic_write(tmp_path / "out") as stream:
        stream.write("new")
    assert ((tmp_path / "victim").read_text(), (tmp_path / "out").read_text()) == ("precious", "new")

"""sec_caption_set: fewer captions than utterances."""

import re

import pytest

from espnet2_secap.bin.sec_caption_set import main
from espnet2_secap.data.io import read_captions

IDS = [f"u{i}" for i in range(10)]


@pytest.fixture
def train(tmp_path):
    folder = tmp_path / "raw" / "train"
    folder.mkdir(parents=True)
    for name, value in {"utt2spk": "spk", "wav.scp": "x.wav", "captions": '["own"]'}.items():
        (folder / name).write_text("".join(f"{utt} {value}\n" for utt in IDS))
    (folder / "utt2emo").write_text("".join(f"{utt} {'sad' if i % 2 else 'calm'}\n" for i, utt in enumerate(IDS)))
    return folder


def made(train, *argv):
    main(["--folders", str(train), "--name", "new", *argv])
    return read_captions(train.parent / "new" / "captions")


def test_a_fraction(train, capsys):
    assert len(made(train, "--caption_fraction", "0.2")) == 2
    assert "new: 2 utterances, 2 with their own captions" in capsys.readouterr().out


def test_a_list_and_captions_of_the_others(train, tmp_path, capsys):
    (tmp_path / "list").write_text("u3\nu4\n")
    (tmp_path / "taught").write_text("".join(f'{utt} ["taught", "again"]\n' for utt in IDS))
    found = made(train, "--utt_list", str(tmp_path / "list"), "--captions", str(tmp_path / "taught"))
    assert found == {utt: ["own"] if utt in ("u3", "u4") else ["taught", "again"] for utt in IDS}
    assert "10 utterances, 2 with their own captions" in capsys.readouterr().out


def test_wrong_captions(train, capsys):
    (train / "captions").write_text("".join(f'{utt} ["语速较快，情绪愤怒", "无"]\n' for utt in IDS), encoding="utf-8")
    found = made(train, "--wrong_captions", "1")
    assert "10 of 20 captions say something wrong now" in capsys.readouterr().out
    assert all(some[0] != "语速较快，情绪愤怒" and some[1] == "无" for some in found.values())


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--caption_fraction", "0"], "no utterance is left; give more captions"),
        (["--caption_fraction", "1.5"], "--caption_fraction"),
        (["--name", "a/b"], "must be the name of a set"),
        (["--name", "train"], "would be its own copy"),
        (["--utt_list", "list"], "1 ids are not in .*train \\(nobody\\)"),
    ],
)
def test_bad_input_is_one_line(train, tmp_path, monkeypatch, capsys, argv, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("u3\nnobody\n")
    with pytest.raises(SystemExit) as end:
        main(["--folders", str(train), "--name", "new", *argv])
    error = capsys.readouterr().err.strip()
    assert end.value.code != 0 and len(error.splitlines()) == 1
    assert re.search(said, error)

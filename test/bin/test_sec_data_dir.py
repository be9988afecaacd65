"""sec_data_dir and the scripts of utils/ that call it, with Kaldi's calls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet2_secap.bin.sec_data_dir import main

UTILS = Path(__file__).resolve().parents[2] / "utils"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("data/all")
    for name, value in {"wav.scp": "/{}.wav", "utt2spk": "spk", "captions": '["{}"]', "text": "words"}.items():
        Path("data/all", name).write_text("".join(f"u{i} {value.format(i)}\n" for i in range(6)))
    return tmp_path


def ids(folder):
    return [line.split()[0] for line in Path(folder, "captions").read_text().splitlines()]


def test_subset_as_kaldi_calls_it(place, capsys):
    for options, expected in (
        (["--first", "data/all", "2"], ["u0", "u1"]),
        (["--last", "data/all", "1"], ["u5"]),
        (["--per-spk", "data/all", "3"], ["u0", "u2", "u4"]),
        (["--speakers", "data/all", "3"], [f"u{i}" for i in range(6)]),
    ):
        main(["subset", *options, "data/some"])
        assert ids("data/some") == expected
    Path("list").write_text("u3\nu1 more\nnobody\n")
    main(["subset", "--utt-list", "list", "data/all", "data/some"])
    assert ids("data/some") == ["u1", "u3"]
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "data/some: 2 utterances"
    assert "note: 1 names of list are not in data/all (nobody)" in captured.err
    Path("list").write_text("spk\n")
    main(["subset", "--spk-list", "list", "data/all", "data/some"])
    assert len(ids("data/some")) == 6


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["subset", "data/all", "data/some"], "give SRC NUMBER DEST"),
        (["subset", "data/all", "data/some", "3"], "data/some: must be a number of utterances"),
        (["subset", "data/all", "7", "data/some"], "has 6 utterances, 7 were asked for"),
        (["subset", "--utt-list", "none", "data/all", "data/some"], "none: does not exist"),
        (["subset", "data/none", "7", "data/some"], "data/none: no such folder"),
        (["subset", "data/all", "2", "data/all"], "data/all: is a directory that is read, too"),
        (["combine", "data/some"], "give DEST SRC"),
        (["combine", "data/some", "data/all", "data/all"], "6 ids are in an earlier directory too"),
        (["copy", "data/all"], "give SRC DEST"),
    ],
)
def test_calls_that_cannot_be_answered(place, capsys, args, said):
    with pytest.raises(SystemExit) as end:
        main(args)
    error = capsys.readouterr().err
    assert end.value.code == 1 and error.startswith("sec_data_dir: error: ") and said in error
    assert not Path("data/some").exists() and ids("data/all") == [f"u{i}" for i in range(6)]


def run(*args):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run([UTILS / args[0], *args[1:]], capture_output=True, text=True, env=env, timeout=60)


def test_the_scripts(place):
    copied = run("copy_data_dir.sh", "--utt_suffix", "-noise", "--spk-prefix=x_", "data/all", "data/noise")
    assert copied.returncode == 0 and ids("data/noise")[0] == "u0-noise"
    assert Path("data/noise/spk2utt").read_text().startswith("x_spk u0-noise u1-noise")
    (place / "data/all/text").unlink()
    checked = run("copy_data_dir.sh", "--validate_opts", "--no-text --no-feats", "data/all", "data/copy")
    assert checked.returncode == 0 and checked.stdout.endswith("data/copy: good\n")
    joined = run(
        "combine_data.sh",
        "--extra_files",
        "utt2num_frames",
        "--skip_fix",
        "true",
        "data/both",
        "data/all",
        "data/noise",
    )
    assert joined.returncode == 0 and len(ids("data/both")) == 12 and "note: text is left out" in joined.stderr
    assert run("subset_data_dir.sh", "--first", "data/both", "3", "data/some").returncode == 0
    assert ids("data/some") == ["u0", "u0-noise", "u1"]

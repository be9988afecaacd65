"""sec_stages, called as utils/sec_functions.sh calls it (test/utils/test_sec_functions.py runs that)."""

import subprocess
import sys
import time

import pytest

from espnet2_secap.bin import sec_stages
from espnet2_secap.process import made


def test_begin_and_end(tmp_path, capsys):
    record = ["--file", str(tmp_path / "stages.tsv"), "--run", "host:1:2"]
    sec_stages.main(["begin", *record, "--stage", "7", "--title", "decoding"])
    sec_stages.main(["begin", *record, "--stage", "8", "--title", "scoring"])
    assert capsys.readouterr().out == ""
    sec_stages.main(["end", *record, "--status", "3"])
    header, seven, eight, total = capsys.readouterr().out.splitlines()
    assert header.split() == ["stage", "wall", "peak", "memory"]
    assert seven.split() == ["7", "decoding", "0:00:00", "n/a"]
    assert eight.startswith("    8  scoring (ended with status 3)") and total.split()[0] == "all"


def test_it_notes_what_outputs_are_made_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/wav.scp").write_text("a a.wav\n")
    names = "train_set valid_set test_sets".split()
    recipe = [*(f"{name}=a" for name in names), "dumpdir=dump", "folds=", "feats_type=raw", "feats_scp=wav.scp"]
    record = ["--file", "stages.tsv", "--run", "r"]
    sec_stages.main(["begin", *record, "--stage", "2", "--title", "audio", "--recipe", *recipe])
    assert made.has_ended("dump/raw/a") is False
    sec_stages.main(["end", *record, "--status", "0", "--ended", "2", "--recipe", *recipe])
    assert made.has_ended("dump/raw/a") and made.changed("dump/raw/a", ["data/a/wav.scp"]) == []


def test_a_folder_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sec_stages.main(
            ["begin", "--file", str(tmp_path / "no" / "s"), "--run", "r", "--stage", "1", "--title", "corpus"]
        )
    assert capsys.readouterr().err.startswith("sec_stages: error: ")


def test_it_imports_nothing_heavy():
    code = "import sys, espnet2_secap.bin.sec_stages; print({'torch', 'numpy', 'espnet2'} & set(sys.modules))"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
    assert time.monotonic() - start < 5  # 0.1 s on a machine with nothing else to do

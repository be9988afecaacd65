"""The program that lists every bad line of a data directory."""

import subprocess
import sys

import pytest

from espnet2_secap.bin.sec_validate_data import main


def test_a_good_one(tmp_path, capsys):
    (tmp_path / "wav.scp").write_text("a x.wav\n")
    (tmp_path / "captions").write_text('a ["x"]\n')
    main([str(tmp_path), "--require", "captions"])
    assert capsys.readouterr().out == f"{tmp_path}: good\n"


def test_every_bad_line_and_status_1(tmp_path, capsys):
    (tmp_path / "wav.scp").write_bytes(b"a x.wav\r\nb x.wav\r\n")
    (tmp_path / "captions").write_text('a ["x"]\nb x\n')
    with pytest.raises(SystemExit) as status:
        main([str(tmp_path), "--require", "captions", "utt2emo"])
    assert status.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines[:4]] == [
        f"{tmp_path}/wav.scp:1",
        f"{tmp_path}/wav.scp:2",
        f"{tmp_path}/captions:2",
        f"{tmp_path}/utt2emo",
    ]
    assert lines[4].startswith("sec_validate_data: error: ")
    assert "4 problem(s)" in lines[4]
    assert len(lines) == 5


def test_a_folder_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main([str(tmp_path / "nothing")])
    assert status.value.code == 1
    assert "nothing: no such folder; run stage 1" in capsys.readouterr().err


def test_starts_without_torch(repo):
    code = "import sys, espnet2_secap.bin.sec_validate_data, espnet2_secap.bin.sec_format_audio\n"
    code += "sys.exit([m for m in ('torch', 'espnet2', 'transformers') if m in sys.modules] or 0)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo).returncode == 0


def test_as_a_program(repo, tmp_path):
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_validate_data", str(tmp_path)]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 1
    assert "wav.scp: does not exist" in done.stderr
    assert "Traceback" not in done.stderr

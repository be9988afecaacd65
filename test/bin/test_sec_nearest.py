import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "args, message",
    [
        (["--neighbours", "-1"], "--neighbours -1: must be at least 0"),
        (["--batch_size", "0"], "--batch_size 0: must be at least 1"),
        (["--train_captions", "none"], "none: does not exist"),
        ([], "test/captions: does not exist"),
    ],
)
def test_bad_options_are_one_line(tmp_path, args, message):
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_nearest", "--train_dir", "train", "--train_captions"]
    command += ["test/captions", "--data_dir", "test", "--output", "out"]
    done = subprocess.run([*command, *args], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and message in done.stderr, done.stderr

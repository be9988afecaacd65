import json
import subprocess
import sys

import pytest


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train").write_text('t1 ["高兴", "悲伤"]\nt2 ["悲伤"]\n', encoding="utf-8")
    (tmp_path / "ids").write_text("b x\na y\n")
    return tmp_path


def run(files, *args):
    command = [
        sys.executable,
        "-m",
        "espnet2_secap.bin.sec_baseline",
        "--train_captions",
        "train",
        "--ids",
        "ids",
    ]
    return subprocess.run([*command, *args], cwd=files, capture_output=True, text=True, timeout=60)


def read(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split(" ", 1)[0]: json.loads(line.split(" ", 1)[1]) for line in lines}


def test_frequent(files):
    done = run(files, "--kind", "frequent", "--output", "out/frequent_caption/test")
    assert done.returncode == 0, done.stderr
    assert read(files / "out" / "frequent_caption" / "test" / "captions") == {"a": ["悲伤"], "b": ["悲伤"]}


def test_random_is_seeded(files):
    captions = []
    for seed in ("3", "3", "4", "5", "6"):
        done = run(files, "--kind", "random", "--n_candidates", "2", "--seed", seed, "--output", "out")
        assert done.returncode == 0, done.stderr
        captions.append(read(files / "out" / "captions"))
    assert captions[0] == captions[1] and any(other != captions[0] for other in captions[2:])
    assert all(len(drawn) == 2 and set(drawn) <= {"高兴", "悲伤"} for drawn in captions[0].values())


@pytest.mark.parametrize(
    "args, message",
    [
        (["--train_captions", "none"], "none: does not exist"),
        (["--ids", "none"], "none: does not exist"),
        (["--train_captions", "ids"], "ids:1: b: is not JSON"),
        (["--n_candidates", "0"], "--n_candidates 0"),
        (["--output", "ids/out"], "ids/out"),
    ],
)
def test_bad_input_is_one_line_and_earlier_captions_stay(files, args, message):
    (files / "out").mkdir()
    (files / "out" / "captions").write_text('a ["早"]\n', encoding="utf-8")
    done = run(files, "--kind", "random", "--output", "out", *args)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert read(files / "out" / "captions") == {"a": ["早"]}


def test_the_training_set_as_a_test_set(files):
    done = run(files, "--ids", "./train", "--kind", "random", "--n_candidates", "1", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert read(files / "out" / "captions")["t1"] == ["悲伤"]

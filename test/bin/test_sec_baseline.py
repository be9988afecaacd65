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


def test_a_human_caption_is_scored_against_the_others(files):
    done = run(files, "--ids", "train", "--kind", "human", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "1 utterances have one human caption only: they are left out" in done.stdout
    assert read(files / "out" / "captions") == {"t1": ["高兴"]}
    assert read(files / "out" / "references") == {"t1": ["悲伤"]}


def test_a_label_is_a_sentence_in_a_language(files):
    """A words file has none of its own, so it is to be said."""
    (files / "utt2emo").write_text("a glad\nb happy\n")
    (files / "words.json").write_text('{"emotion": {"happy": ["开心", "高兴"]}}', encoding="utf-8")
    (files / "map").write_text("glad happy\n")
    command = ["--ids", "utt2emo", "--kind", "label", "--label_map", "map", "--output", "out"]
    for more, text in (
        (["--words", "words.json", "--lang", "zh"], "说话人的情绪是开心。"),
        (["--words", "words.json", "--sentence", "{}"], "开心"),
        (["--words", "en"], "The speaker sounds happy."),
    ):
        done = run(files, *command, *more)
        assert done.returncode == 0, done.stderr
        assert read(files / "out" / "captions") == {"a": [text], "b": [text]}
    for more, message in (
        (["--words", "words.json"], "--words words.json: in which language is the sentence? Give --lang or --sentence"),
        (["--sentence", "{} {}"], "--sentence '{} {}': must have {} once"),
        (["--words", "words.json", "--lang", "zh", "--label_map", "other"], "glad: no such emotion in the words file"),
    ):
        (files / "other").write_text("sad happy\n")
        done = run(files, *command, *more)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr

"""sec.sh with names that a shell could take for something else: nothing in a value is run, split or expanded."""

import json
import os
import subprocess

import numpy as np
import pytest
import soundfile as sf


@pytest.fixture
def recipe(repo, tmp_path):
    """A recipe folder with a corpus of four utterances, and files that a * would find."""
    folder = tmp_path / "sec1"
    folder.mkdir()
    for name in ("sec.sh", "path.sh", "cmd.sh"):
        (folder / name).symlink_to(repo / "egs2/TEMPLATE/sec1" / name)
    (folder / "utils").symlink_to(repo / "utils")
    (folder / "local").mkdir()
    (folder / "local/data.sh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > told\n')
    (folder / "local/data.sh").chmod(0o755)
    for at in range(4):
        sf.write(folder / f"u{at}.wav", np.random.default_rng(at).standard_normal(8000) * 0.1, 16000)
    return folder


def make_set(recipe, name):
    folder = recipe / "data" / name
    folder.mkdir(parents=True)
    (folder / "wav.scp").write_text("".join(f"u{i} u{i}.wav\n" for i in range(4)))
    (folder / "captions").write_text("".join(f"u{i} {json.dumps(['x'])}\n" for i in range(4)))


def sec(recipe, *options):
    command = ["./sec.sh", "--nj", "2", *map(str, options)]
    done = subprocess.run(command, cwd=recipe, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    assert not list(recipe.glob("evil*")), "a value was run"
    return done


def worked_or_said(recipe, done, sets):
    """Every set is there in full, or there is one line that says why not, and nothing else."""
    if done.returncode:
        assert done.stderr.startswith("sec.sh: error: ") and done.stderr.count("\n") == 1
        sets = set()
    assert {path.name for path in recipe.glob("dump/raw/*")} == sets
    assert all(len((recipe / "dump/raw" / name / "wav.scp").read_text().splitlines()) == 4 for name in sets)


def test_names_of_sets(recipe):
    sets = ["$(touch evil)", "it's;touch evil;", "语`touch${IFS}evil`", "--x"]
    for dset in sets:
        make_set(recipe, dset)
    options = ["--train_set", sets[0], "--valid_set", sets[1], "--test_sets", " ".join(sets[2:])]
    done = sec(recipe, "--stage", "2", "--stop_stage", "2", *options)
    worked_or_said(recipe, done, set(sets))


def test_a_star_is_a_name_like_any(recipe):
    for dset in ("a*", "ab", "valid", "test"):
        make_set(recipe, dset)
    done = sec(recipe, "--stage", "2", "--stop_stage", "2", "--train_set", "a*")
    worked_or_said(recipe, done, {"a*", "valid", "test"})


@pytest.mark.slow(10)
def test_names_of_folders(recipe):
    for dset in ("train", "valid", "test"):
        make_set(recipe, dset)
    exp, dump = "x/with  space, it's $(touch evil)", "y/-语音;touch evil"
    options = ["--expdir", exp, "--dumpdir", dump, "--upstream", "fbank", "--feats_tag", "fbank"]
    done = sec(recipe, "--stage", "2", "--stop_stage", "4", *options)
    assert done.returncode == 0, done.stderr
    assert (recipe / exp / "sec_stats_fbank/train/speech_shape").is_file()
    assert (recipe / dump / "fbank/train/feats.scp").is_file()
    assert {path.name for path in recipe.iterdir() if path.is_dir()} == {"data", "local", "utils", "x", "y"}


@pytest.mark.slow(10)
def test_several_upstreams_side_by_side(recipe):
    for dset in ("train", "valid", "test"):
        make_set(recipe, dset)
    options = ["--upstream", "acoustic+fbank_no_cmvn", "--feats_normalize", "global_mvn"]
    options += ["--extract_args", "--encoder_conf acoustic.level=frame"]
    done = sec(recipe, "--stage", "2", "--stop_stage", "4", *options)
    assert done.returncode == 0, done.stderr
    config = json.loads((recipe / "dump/acoustic_fbank_no_cmvn/test/config.json").read_text())
    assert (config["encoder"], config["dim"], config["frame_shift"]) == ("joined", 22 + 240, 160)
    assert list(config["encoder_conf"]["encoders"]) == ["acoustic", "fbank_no_cmvn"]
    stats = np.load(recipe / "exp/sec_stats_acoustic_fbank_no_cmvn/train/feats_stats.npz")
    assert len(stats["sum"]) == 262 and np.isfinite(stats["sum"]).all()
    lengths = (recipe / "exp/sec_stats_acoustic_fbank_no_cmvn/train/speech_shape").read_text().splitlines()
    assert lengths == [f"u{i} 48,262" for i in range(4)]  # of 8000 samples fbank has 48 frames, acoustic 50


def test_options_of_the_corpus_are_split_and_not_run(recipe):
    for dset in ("train", "valid", "test"):
        make_set(recipe, dset)
    done = sec(
        recipe, "--stop_stage", "1", "--local_data_opts", "--seed 3 --words $(touch evil) `touch evil`;touch evil"
    )
    assert done.returncode == 0, done.stderr
    told = (recipe / "told").read_text().splitlines()
    assert told == ["--seed", "3", "--words", "$(touch", "evil)", "`touch", "evil`;touch", "evil"]


def test_options_of_the_corpus_are_no_patterns(recipe):
    for dset in ("train", "valid", "test"):
        make_set(recipe, dset)
    done = sec(recipe, "--stop_stage", "1", "--local_data_opts", "--prompts u*.wav")
    assert done.returncode == 0, done.stderr
    assert (recipe / "told").read_text().splitlines() == ["--prompts", "u*.wav"]


def test_pipes_in_a_corpus_are_refused(recipe):
    for dset in ("train", "valid", "test"):
        make_set(recipe, dset)
    with open(recipe / "data/valid/wav.scp", "w") as stream:
        stream.writelines(f"u{i} touch evil; cat u{i}.wav |\n" for i in range(4))
    done = sec(recipe, "--stage", "2", "--stop_stage", "2")
    assert done.returncode != 0
    assert "data/valid/wav.scp:1: u0: is a command (pipe)" in done.stderr and "--allow_pipes true" in done.stderr
    assert not os.path.exists(recipe / "dump/raw/valid")

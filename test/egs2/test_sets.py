"""A new corpus whose sets have the same ids and several roles, through stages 2 and 4 of sec.sh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.data.io import read_kaldi

REPO = Path(__file__).resolve().parents[2]
SIZES = {"train": 6, "valid": 3, "test": 3}


@pytest.fixture
def recipe(tmp_path):
    """MELD: ids 0 to n in each set; `dia0/utt1` with a slash; a training recording is in the test set; one utterance
    of training is laughter; the test set's labels are spelt otherwise."""
    subprocess.run([REPO / "egs2/TEMPLATE/sec1/setup.sh", tmp_path / "corpus"], check=True, capture_output=True)
    folder = tmp_path / "corpus/sec1"
    for number, (dset, size) in enumerate(SIZES.items()):
        (folder / "data" / dset).mkdir(parents=True)
        ids = [f"dia0/utt{i}" for i in range(size)]
        sounds = [np.random.default_rng(100 * number + i).standard_normal(8000) * 0.1 for i in range(size)]
        if dset == "test":
            sounds[2] = np.random.default_rng(1).standard_normal(8000) * 0.1
        for i, sound in enumerate(sounds):
            sf.write(folder / f"data/{dset}{i}.wav", sound, 16000)
        tables = {
            "wav.scp": lambda i, dset=dset: f"data/{dset}{i}.wav",
            "utt2spk": lambda i: f"s{i}",
            "captions": lambda i: json.dumps(["an angry voice"]),
            "text": lambda i: "" if i == 1 else "words",
            "utt2emo": lambda i, dset=dset: "Anger" if dset == "test" else "anger",
        }
        for name, value in tables.items():
            lines = [f"{utt} {value(i)}".rstrip() + "\n" for i, utt in enumerate(ids)]
            (folder / "data" / dset / name).write_text("".join(lines))
    return folder


def run(folder, *options):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)}
    call = ["./run.sh", "--stage", "2", "--stop-stage", "4", "--nj", "1", "--feats_type", "raw", *options]
    return subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_sets_with_equal_ids_and_several_roles(recipe):
    done = run(recipe, "--test_sets", "valid test valid")
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.splitlines()
    assert "note: valid is the validation set and a test set, and was formatted as a test set" in told
    (shared,) = [line for line in told if "recordings of test are in train too" in line]
    assert shared.startswith("warning: 1 of 3 ") and "(dia0/utt2 is dia0/utt1)" in shared
    assert any(
        "utt2emo: one label in several spellings: 'anger' (train: 6, valid: 3), 'Anger' (test: 3)" in t for t in told
    )
    assert sum("have no transcription (dia0/utt1): kept as nothing said" in line for line in told) == 3
    for dset, size in SIZES.items():
        scp = read_kaldi(recipe / "dump/raw" / dset / "wav.scp")
        assert list(scp) == [f"dia0/utt{i}" for i in range(size)]
        assert (
            scp["dia0/utt1"] == f"dump/raw/{dset}/data/format.1/dia0%2Futt1.wav"
            and (recipe / scp["dia0/utt1"]).is_file()
        )
        assert len(read_kaldi(recipe / "dump/raw" / dset / "text", may_be_empty=True)) == size
    assert "recording\ttest\tdia0/utt2\ttrain\tdia0/utt1" in (recipe / "dump/raw/overlap.tsv").read_text()
    assert len(read_kaldi(recipe / "exp/sec_stats_raw/valid/speech_shape")) == 3


def test_options_of_stage_2_reach_it(recipe):
    (recipe / "conf/emotions").write_text("Anger anger\n")
    options = [
        "--emotion_map",
        "conf/emotions",
        "--missing_text",
        "skip",
        "--test_sets",
        "train",
        "--valid_set",
        "train",
    ]
    done = run(recipe, *options, "--train_set", "test", "--format_args", "--min_wav_duration '0.2'")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        set(read_kaldi(recipe / "dump/raw/test/utt2emo").values()) == {"anger"}
        and "several spellings" not in done.stdout
    )
    assert list(read_kaldi(recipe / "dump/raw/test/wav.scp")) == ["dia0/utt0", "dia0/utt2"]
    assert len(read_kaldi(recipe / "dump/raw/train/wav.scp")) == 6 and not (recipe / "dump/raw/valid").exists()


def test_copies_of_the_training_set(recipe):
    """At other speeds and with noise, for training only: the set itself, of which baselines are made, stays."""
    options = ("--speed_perturb", "0.9 1.1", "--noise_snr", "20")
    done = run(recipe, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    name = "train_sp0.9_1.1_noise20"
    assert f"dump/raw/{name}: 6 utterances and 18 copies (sp0.9, sp1.1, noise20)" in done.stdout
    lengths = read_kaldi(recipe / f"exp/sec_stats_raw/{name}/speech_shape")
    assert len(lengths) == 24 and len(read_kaldi(recipe / "dump/raw/train/captions")) == 6
    assert int(lengths["sp0.9-dia0/utt0"]) == pytest.approx(8000 / 0.9, abs=2)
    assert not (recipe / "exp/sec_stats_raw/train").exists()
    again = run(recipe, *options, "--stage", "4")
    assert again.returncode == 0, again.stdout + again.stderr


def test_distorted_copies_of_the_training_set(recipe):
    done = run(recipe, "--augment", "noise=5,15 reverb+telephone", "--noise_snr", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    name = "train_noise20_aug_noise5_15_reverb+telephone"
    assert f"dump/raw/{name}: 6 utterances and 18 copies (noise20, noise5_15, reverb+telephone)" in done.stdout
    lengths = read_kaldi(recipe / f"exp/sec_stats_raw/{name}/speech_shape")
    assert len(lengths) == 24 and set(lengths.values()) == {"8000"}
    assert len(read_kaldi(recipe / "dump/raw/train/captions")) == 6


def test_copies_in_cross_validation(recipe):
    """All sets get copies; a fold trains on those of its own training recordings, by the ordinary sec.sh."""
    for dset, scene in (("valid", "dia1"), ("test", "dia2")):  # ids of all sets differ
        for table in (recipe / "data" / dset).iterdir():
            table.write_text(table.read_text().replace("dia0/", f"{scene}/"))
    done = run(recipe, "--speed_perturb", "0.9", "--folds", "2", "--fold_jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"dump/raw/{dset}_sp0.9: {n} utterances and {n} copies" in done.stdout for dset, n in SIZES.items())
    for number in (1, 2):
        fold = recipe / f"folds/2/{number}"
        sets = {dset: set(read_kaldi(fold / f"dump/raw/{dset}/wav.scp")) for dset in SIZES}
        assert sum(map(len, sets.values())) == 12
        shapes = [read_kaldi(fold / f"exp/sec_stats_raw/{dset}/speech_shape") for dset in ("train_sp0.9", "valid")]
        assert shapes[0].keys() == sets["train"] | {f"sp0.9-{utt}" for utt in sets["train"]}
        assert shapes[1].keys() == sets["valid"]


def test_bad_options_of_copies_are_one_line(recipe):
    assert run(recipe, "--stop-stage", "2").returncode == 0
    for value, message in (
        ("--speed_perturb fast", "--speed_perturb 'fast': must be numbers"),
        ("--speed_perturb 0.1", "--speed_perturb 0.1: must be between 0.5 and 2"),
        ("--speed_perturb 0.8", "dump/raw/train_sp0.8/wav.scp is missing: run stage 2 first"),
        ("--augment reverb=5", "--augment reverb=5: reverb 5.0: must be between 0.05 and 3"),
        ("--augment cave", "--augment cave: 'cave' is not one of noise, reverb, telephone"),
        ("--augment telephone", "dump/raw/train_aug_telephone/wav.scp is missing: run stage 2 first"),
    ):
        done = run(recipe, *value.split(), "--stage", "4")
        assert done.returncode == 1 and message in done.stderr, done.stderr

"""Cross-validation by sec.sh itself: folds in parallel, one that fails, resumption after kill -9, pooled scores."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from recipe import CALL, run

from espnet2_secap.data.io import read_captions, read_kaldi

pytestmark = [pytest.mark.recipe, pytest.mark.slow(160)]
FOLDS = ["--folds", "3", "--stage", "4", "--fold_jobs", "2"]
SYSTEMS = {
    "sec_caption_hubert/decode",
    "sec_caption_hubert/decode_shuffled_audio",
    "sec_caption_hubert/decode_nearest_caption",
    "random_caption",
    "frequent_caption",
}


def kill_in_stage_5(folder):
    """Start, and kill sec.sh with -9 when the first stage of a fold has begun to train; its folds end with it."""
    log = folder / "folds/3/1/exp/sec_align_hubert/train.log"
    with subprocess.Popen([*CALL, *FOLDS], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + 900
        while not (log.exists() and "epoch" in log.read_text()):
            assert process.poll() is None and time.monotonic() < until, process.stdout.read()
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def crossed(finished, tmp_path_factory):
    """What was printed when fold 2 could not run, when it could, and when nothing was left to do."""
    folder = shutil.copytree(finished[0], tmp_path_factory.mktemp("folds") / "recipe", symlinks=True)
    (folder / "folds/3/2").mkdir(parents=True)
    (folder / "folds/3/2/exp").write_text("in the way")
    kill_in_stage_5(folder)
    failed = run(folder, *FOLDS)
    stamps = {k: (folder / f"folds/3/{k}/exp/.finished").stat().st_mtime_ns for k in (1, 3)}
    assert not (folder / "folds/3/exp").exists()
    (folder / "folds/3/2/exp").unlink()
    mended = run(folder, *FOLDS)
    again = run(folder, *FOLDS)
    assert stamps == {k: (folder / f"folds/3/{k}/exp/.finished").stat().st_mtime_ns for k in (1, 3)}
    return folder, failed, mended, again


def test_a_fold_that_fails_is_named_and_the_others_go_on(crossed):
    _, failed, mended, again = crossed
    assert failed.returncode == 1
    (told,) = [line for line in failed.stderr.splitlines() if line.startswith("sec.sh: error: ")]
    assert told.startswith("sec.sh: error: fold 2: ") and told.endswith("its log is folds/3/logs/fold.2.log"), told
    assert "--expdir exp: cannot be written" in told
    ended = [[k for k in "123" if f"fold {k} has ended" in done.stdout] for done in (failed, mended, again)]
    assert ended == [["1", "3"], ["2"], []], mended.stderr
    assert mended.returncode == again.returncode == 0, mended.stdout[-2000:] + mended.stderr[-2000:]
    assert "2 of 3 folds are finished" in mended.stdout and "3 of 3 folds are finished" in again.stdout


def test_the_report_is_on_all_recordings(crossed):
    folder, *_ = crossed
    everyone = {utt for dset in ("train", "valid", "test") for utt in read_kaldi(folder / f"dump/raw/{dset}/wav.scp")}
    results = json.loads((folder / "folds/3/exp/results.json").read_text())
    assert results.keys() == SYSTEMS and all(of_sets.keys() == {"test"} for of_sets in results.values())
    for system in SYSTEMS:
        assert read_captions(folder / f"folds/3/exp/{system}/test/captions", may_be_empty=True).keys() == everyone
    assert "60 utterances" in (folder / "folds/3/exp/RESULTS.md").read_text()
    rows = [line.split("\t") for line in (folder / "folds/3/exp/folds.tsv").read_text().splitlines()]
    assert rows[0][-1] == "fold_3" and {row[0] for row in rows[1:]} == SYSTEMS


def test_captions_and_llama_of_a_fold_are_of_its_training_set(crossed):
    folder, *_ = crossed
    for number in (1, 2, 3):
        fold = folder / f"folds/3/{number}"
        sets = {dset: set(read_kaldi(fold / f"dump/raw/{dset}/wav.scp")) for dset in ("train", "valid", "test")}
        assert sum(map(len, sets.values())) == len(set().union(*sets.values())) == 60
        train = {text for texts in read_captions(fold / "dump/raw/train/captions").values() for text in texts}
        drawn = read_captions(fold / "exp/random_caption/test/captions")
        assert drawn.keys() == sets["test"] and {text for texts in drawn.values() for text in texts} <= train
        assert not (fold / "pretrained/llama").is_symlink() and (fold / "pretrained/hubert").is_symlink()
        config = (fold / "exp/sec_caption_hubert/config.yaml").read_text()
        assert "pretrained/llama" in config and str(folder) not in config


def test_one_split_stays_apart(crossed):
    folder, *_ = crossed
    done = run(folder, "--stage", "8")
    assert done.returncode == 0, done.stderr
    assert "folds" not in (folder / "exp/RESULTS.md").read_text()


def test_bad_input_before_anything_runs(crossed):
    folder, *_ = crossed
    for options, told in [
        (["--folds", "20", "--fold_by", "speaker"], "--folds 20 --fold_by speaker: there are only 10 speakers"),
        (["--folds", "1"], "--folds '1': must be a whole number of 2 or more"),
        (["--folds", "3", "--fold_by", "word"], "--fold_by word: expected recording or speaker"),
        (["--folds", "3", "--sec_exp", "/x"], "--sec_exp /x: with --folds it must lie below --expdir exp"),
    ]:
        done = run(folder, "--stage", "2", *options)
        assert done.returncode == 1 and done.stderr.startswith(f"sec.sh: error: {told}"), done.stderr
        assert done.stderr.count("\n") == 1

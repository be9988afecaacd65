"""The recipe by one word on a real Slurm: one node, two nodes, and a training that is warned and queued again."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import torch
from interruption import differences, outputs
from recipe import CALL, run

pytestmark = [pytest.mark.recipe, pytest.mark.slow(60)]


def test_slurm_gives_the_same(finished, slurm, tmp_path):
    """Stages 2 to 7 as jobs of Slurm, by one word: the same features, weights and captions as on this machine."""
    folder, _ = finished
    other = tmp_path / "recipe"
    shutil.copytree(folder, other, symlinks=True, ignore=shutil.ignore_patterns("dump", "exp"))
    environment = {**slurm.env, "cmd_backend": "slurm"}
    done = run(other, "--stage", "2", "--stop-stage", "7", environment=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    jobs = {str(path.relative_to(other)) for path in other.rglob("q/*.sh")}
    assert {"dump/hubert/logs/q/extract.JOB.sh", "exp/sec_align_hubert/q/train.sh"} <= jobs and len(jobs) == 9
    for name in ("dump/raw/train/bad_utts.tsv", "exp/sec_caption_hubert/decode/test/captions"):
        assert (other / name).read_bytes() == (folder / name).read_bytes(), name
    arks = sorted(path.relative_to(folder) for path in (folder / "dump").rglob("*.ark"))
    assert arks and all((other / path).read_bytes() == (folder / path).read_bytes() for path in arks)
    for stage in ("align", "caption"):
        ours, theirs = (
            torch.load(where / f"exp/sec_{stage}_hubert/valid.loss.best.pth", weights_only=True)
            for where in (other, folder)
        )
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_two_nodes_train_together(finished, slurm, tmp_path):
    folder, _ = finished
    other = shutil.copytree(folder, tmp_path / "recipe", symlinks=True, ignore=shutil.ignore_patterns("sec_[ac]*"))
    options = ["--stage", "5", "--stop-stage", "6", "--num_nodes", "2"]
    done = run(other, *options, environment={**slurm.env, "cmd_backend": "slurm"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for stage in ("align", "caption"):
        exp = other / f"exp/sec_{stage}_hubert"
        assert ":0/2] " in (exp / "train.log").read_text(), "two processes"
        curves = (exp / "curves.tsv").read_text()
        assert "\n3\tvalid\tloss\t" in curves and "nan" not in curves
        assert (exp / "valid.loss.ave.pth").exists()


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_warned_training_is_queued_again_and_goes_on(finished, slurm, tmp_path, nodes):
    """What happens at a time limit: USR1, a checkpoint, back into the queue, and the end that it would have had."""
    folder, _ = finished
    args = ["--stage", "6", "--stop-stage", "6", "--caption_args", "--max_epoch 60"]
    recipes = [tmp_path / "slurm", tmp_path / "here"]
    for recipe in recipes:
        shutil.copytree(folder, recipe, symlinks=True, ignore=shutil.ignore_patterns("sec_caption*"))
    exp = recipes[0] / "exp/sec_caption_hubert"
    environment = {**os.environ, **slurm.env, "cmd_backend": "slurm"}
    command = [*CALL, *args, "--num_nodes", str(nodes)]
    running = subprocess.Popen(command, cwd=recipes[0], env=environment, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 240
    while not (exp / "latest.pth").exists() and time.monotonic() < end:
        assert running.poll() is None, running.stdout.read()
        time.sleep(0.1)
    job = (exp / "q/train.jobid").read_text().strip()
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], env=environment, check=True)
    said, _ = running.communicate(timeout=500)
    assert running.returncode == 0, said
    log = (exp / "train.log").read_text()
    assert "sec_train: stopped by SIGUSR1: saved exp/sec_caption_hubert/checkpoint.pth" in log
    assert "# Started again by Slurm, time 1" in log and "The training was resumed from" in log
    assert "60epoch started" in log
    if nodes == 2:
        return
    done = run(recipes[1], *args)
    assert done.returncode == 0, done.stderr
    assert differences(outputs(recipes[1], 6), outputs(recipes[0], 6)) == []


def test_the_end_of_the_run_cancels_its_job(finished, slurm, tmp_path):
    folder, _ = finished
    other = shutil.copytree(folder, tmp_path / "recipe", symlinks=True, ignore=shutil.ignore_patterns("sec_caption*"))
    exp = other / "exp/sec_caption_hubert"
    args = ["--stage", "6", "--stop-stage", "6", "--caption_args", "--max_epoch 100000"]
    environment = {**os.environ, **slurm.env, "cmd_backend": "slurm"}
    running = subprocess.Popen([*CALL, *args], cwd=other, env=environment, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while not (exp / "latest.pth").exists() and time.monotonic() < end:
        assert running.poll() is None
        time.sleep(0.1)
    job = (exp / "q/train.jobid").read_text().strip()
    running.send_signal(signal.SIGTERM)  # to sec.sh alone; what it started notices that it is gone
    running.wait(timeout=120)
    end = time.monotonic() + 60
    queue = ["squeue", "-h", "-t", "all", "-o", "%T", "-j", job]
    while (state := subprocess.run(queue, env=environment, capture_output=True, text=True).stdout.strip()) in (
        "RUNNING",
        "COMPLETING",
    ) and time.monotonic() < end:
        time.sleep(0.5)
    assert state == "CANCELLED"
    assert "sec_train: stopped by SIGTERM: saved" in (exp / "train.log").read_text()

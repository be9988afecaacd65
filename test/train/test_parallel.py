"""Several training processes on CPUs: the same losses and gradients as one, interruptions, failures."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import tiny_training
import torch
from tiny_training import ALL, CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.train.parallel import name_init_file, processes_per_node

TRAIN = [sys.executable, "-m", "espnet2_secap.bin.sec_train"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Seven utterances, so that the two processes' shares of a batch differ in size, each with a caption of its own."""
    folder = make_corpus(tmp_path_factory.mktemp("corpus"))
    for name in ("shape", "captions", "text", "utt2emo", "feats.scp"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:7]))
    words = ["语速较快", "声音高亢", "语气平静", "情绪低落", "十分愤怒", "略显疲惫", "充满喜悦"]
    (folder / "captions").write_text("".join(f'u{i} ["{word}"]\n' for i, word in enumerate(words)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def confs(tiny_llama, tmp_path_factory):
    """One step of plain gradient descent on all seven: what changes is the gradient.

    In 64 bits: seven vectors that are nearly the same at the start are standardised for vCLUB, which blows the
    rounding of 32 bits up to 2e-5.
    """
    folder = tmp_path_factory.mktemp("conf")
    plain = dict(optim="sgd", optim_conf={"lr": 0.5}, max_epoch=1, grad_clip=1e9, valid_batch_size=7)
    plain["train_dtype"] = "float64"
    align, caption = tiny_training.align_conf(tiny_llama), tiny_training.caption_conf(tiny_llama)
    align["sampler_conf"] = {"num_categories": 2, "per_category": 4}
    for name, conf in (("align", align), ("caption", caption | {"batch_size": 7})):
        conf["bridge_conf"] = {**conf["bridge_conf"], "dropout": 0.0}
        write(folder / f"{name}.yaml", conf | plain)
    return folder


def args_of(corpus, confs, stage, output, *options) -> list[str]:
    names = ALL if stage == "align" else [SPEECH, CAPTION]
    return [*command(corpus, output, str(confs / f"{stage}.yaml"), names), *options]


def curves(folder) -> dict[tuple, float]:
    rows = [line.split("\t") for line in (folder / "curves.tsv").read_text().splitlines()[1:]]
    left_out = ("time", "iter_time", "forward_time", "backward_time", "optim_step_time", "train_time")
    left_out += ("ppl",)  # a mean of what each process has
    return {(split, key): float(value) for _, split, key, value in rows if key not in left_out}


@pytest.mark.parametrize("stage", ["align", "caption"])
@pytest.mark.slow(18)
def test_two_processes_equal_one_with_the_whole_batch(repo, corpus, confs, tmp_path, stage):
    sec_train.main(args_of(corpus, confs, stage, tmp_path / "one"))
    launch = [
        *(sys.executable, "-m", "espnet2.bin.launch", "--cmd", f"{repo}/utils/run.pl"),
        *("--log", f"{tmp_path}/two/train.log", "--ngpu", "0", "--"),
    ]
    done = subprocess.run(
        [*launch, *TRAIN, *args_of(corpus, confs, stage, tmp_path / "two", "--train_nproc", "2")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-9000:]
    one, two = curves(tmp_path / "one"), curves(tmp_path / "two")
    assert one.keys() == two.keys() and ("valid", "loss") in one
    assert stage == "caption" or ("valid", "retrieval") in one
    assert two == pytest.approx(one, rel=1e-5, abs=1e-5)
    model, _ = SECTask.build_model_from_file(tmp_path / "one" / "config.yaml")
    states = [torch.load(tmp_path / name / "1epoch.pth", weights_only=True) for name in ("one", "two")]
    moved = 0
    for key, value in states[0].items():
        gradient = (value - states[1][key]) / 0.5
        assert gradient.abs().max() < 1e-5, key
        moved += (value - model.state_dict()[key]).abs().max() > 1e-4
    assert moved > 10, "the step itself was large enough to compare"


def wait_for(path, process, seconds=240):
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert path.exists(), process.communicate()


@pytest.mark.slow(45)
def test_a_signal_to_the_first_process_stops_all_and_they_go_on(corpus, confs, tmp_path):
    options = ["--train_nproc", "2", "--max_epoch", "100000"]
    args = args_of(corpus, confs, "align", tmp_path / "exp", *options)
    process = subprocess.Popen([*TRAIN, *args], stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "exp" / "latest.pth", process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 99, stderr[-3000:]
    assert f"sec_train: stopped by SIGTERM: saved {tmp_path}/exp/checkpoint.pth" in stderr
    assert "Traceback" not in stderr
    reached = int(os.readlink(tmp_path / "exp" / "latest.pth").removesuffix("epoch.pth"))
    last = ["--max_epoch", str(reached + 2)]
    done = subprocess.run([*TRAIN, *args, *last], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-9000:]
    assert (tmp_path / "exp" / f"{reached + 2}epoch.pth").exists()
    undisturbed = args_of(corpus, confs, "align", tmp_path / "one", *options, *last)
    assert subprocess.run([*TRAIN, *undisturbed], capture_output=True, timeout=300).returncode == 0
    assert curves(tmp_path / "exp") == curves(tmp_path / "one")


@pytest.mark.slow(12)
def test_a_killed_process_takes_the_others_with_it(corpus, confs, tmp_path):
    args = args_of(corpus, confs, "caption", tmp_path / "exp", "--train_nproc", "2", "--max_epoch", "100000")
    process = subprocess.Popen([*TRAIN, *args], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(tmp_path / "exp" / "latest.pth", process)
        children = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True)
        pids = [int(pid) for pid in children.stdout.split()]
        assert len(pids) == 2
        os.kill(pids[1], signal.SIGKILL)
        assert process.wait(timeout=120) == 1
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    finally:  # nothing trains on where the test fails or is interrupted
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow(12)
def test_bad_input_is_one_line(corpus, confs, tmp_path):
    options = ["--train_nproc", "2", "--bridge_conf", "num_querys=3"]
    args = args_of(corpus, confs, "caption", tmp_path / "exp", *options)
    done = subprocess.run([*TRAIN, *args], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert {line for line in done.stderr.splitlines() if " error: " in line} == {
        line for line in done.stderr.splitlines() if "unknown key 'num_querys'" in line
    }


def test_a_job_that_is_queued_again_has_another_file_to_meet_at(monkeypatch):
    def name(method: str) -> str:
        args = argparse.Namespace(dist_init_method=method)
        name_init_file(args)
        return args.dist_init_method

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert name("file:///exp/.dist_init_x") == "file:///exp/.dist_init_x"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert name("file:///exp/.dist_init_x") == "file:///exp/.dist_init_x.7.0"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert name("file:///exp/.dist_init_x") == "file:///exp/.dist_init_x.7.2"
    assert name("env://") == "env://"


def test_number_of_processes():
    defaults = SECTask.get_parser().parse_args([])
    for changes, expected in [
        ({}, 1),
        ({"train_nproc": 3}, 3),
        ({"ngpu": 2, "multiprocessing_distributed": True}, 2),
        ({"ngpu": 2, "multiprocessing_distributed": False}, 1),
    ]:
        args = type(defaults)(**{**vars(defaults), "ngpu": 0, **changes})
        assert processes_per_node(args) == expected
    for changes, message in [
        ({"train_nproc": 0}, "must be at least 1"),
        ({"train_nproc": 2, "ngpu": 1}, "one process"),
    ]:
        with pytest.raises(SecError, match=message):
            processes_per_node(type(defaults)(**{**vars(defaults), "ngpu": 0, **changes}))

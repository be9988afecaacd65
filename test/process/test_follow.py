import os
import signal
import subprocess
import sys
import time

from wrappers import alive, needs_proc, nobody_asks_after_orphans

from espnet2_secap.process.follow import epoch_line, follow, warning_of

RESULT = (
    "[host] 2026-01-01 00:00:00,000 (trainer:394) INFO: 2epoch results: [train] iter_time=0.069, sccl=1.119, mi=0.2,"
    " loss=1.319, optim0_lr0=1e-4, time=20 seconds, total_count=25, [valid] loss=1.2, retrieval=0.31, time=2 seconds"
)


def test_epoch_line():
    assert epoch_line(RESULT, "20 seconds") == (
        "  epoch 2: train loss 1.319 sccl 1.119 mi 0.2, valid loss 1.2 retrieval 0.31 (20 seconds left)"
    )
    assert epoch_line("1/3epoch started") is None


def test_follows_the_new_log_only_and_returns_the_status(tmp_path, capfd):
    log = tmp_path / "train.log"
    log.write_text(RESULT.replace("2epoch", "7epoch") + "\n")
    write = (
        f"import os; os.rename({str(log)!r}, {str(log)!r} + '.1'); open({str(log)!r}, 'w').write({RESULT!r} + '\\n')"
    )
    assert follow(log, [sys.executable, "-c", f"{write}; raise SystemExit(3)"]) == 3
    shown = capfd.readouterr().out
    assert "epoch 2" in shown and "epoch 7" not in shown


def test_warnings_of_the_log_reach_the_terminal_each_once(tmp_path, capfd):
    line = "[host] 2026-01-01 00:00:00,000 (divergence:56) WARNING: no update: step {} of 9 (loss nan)"
    assert warning_of(line.format(2)) == "no update: step 2 of 9 (loss nan)"
    assert warning_of("sec_train: note: exp goes on with max_epoch 3") == "exp goes on with max_epoch 3"
    assert warning_of(RESULT) is None and warning_of("a WARNING: of another program") is None
    log = "".join(line.format(step) + "\n" for step in (2, 3, 4)) + RESULT + "\n"
    assert follow(tmp_path / "l", [sys.executable, "-c", f"open({str(tmp_path / 'l')!r}, 'w').write({log!r})"]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[0] == "  warning: no update: step 2 of 9 (loss nan)" and shown[1].startswith("  epoch 2")
    assert len(shown) == 2


def follower(tmp_path, command, **environment) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "espnet2_secap.bin.sec_follow", "--log", str(tmp_path / "l"), "--", "sh", "-c", command],
        env={**os.environ, **environment},
    )


def wait_for(path):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return path.read_text().strip()


@needs_proc
def test_term_ends_the_training_and_its_children(tmp_path):
    running = follower(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    pid = wait_for(tmp_path / "child")
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 128 + signal.SIGTERM
    assert not alive(int(pid)), "the training's child is still running"


EARLY = """
import os, signal, subprocess, sys
from pathlib import Path
from espnet2_secap.process import follow
start = subprocess.Popen
def signalled(*args, **kwargs):
    process = start(*args, **kwargs)
    Path(sys.argv[1], "child").write_text(str(process.pid))
    os.kill(os.getpid(), signal.SIGTERM)
    return process
subprocess.Popen = signalled
follow.follow(Path(sys.argv[1], "log"), ["sleep", "60"])
"""


@needs_proc
def test_term_in_the_moment_of_the_start(tmp_path):
    done = subprocess.run([sys.executable, "-c", EARLY, tmp_path], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    assert not alive(int((tmp_path / "child").read_text()))


SAVING = """
import pathlib, signal, sys, time
def save(number, frame):
    time.sleep(1)
    pathlib.Path(sys.argv[1], "saved").write_text("saved")
    raise SystemExit(99)
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1], "child").write_text("up")
signal.pause()
"""


@needs_proc
def test_it_waits_for_what_the_launcher_started_until_it_has_saved_and_no_longer(tmp_path):
    """The launcher dies at once, the training takes its time, and nobody asks after it when it has ended."""
    (tmp_path / "saving.py").write_text(SAVING)
    with nobody_asks_after_orphans():
        running = follower(tmp_path, f"{sys.executable} {tmp_path}/saving.py {tmp_path} & wait")
        wait_for(tmp_path / "child")
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 128 + signal.SIGTERM, "it would wait 40 s for one that does not end"
    assert (tmp_path / "saved").exists()


def test_the_end_of_the_run_that_it_belongs_to(tmp_path):
    run = subprocess.Popen(["sleep", "600"])
    running = follower(tmp_path, f"echo up > {tmp_path}/child; sleep 60", SEC_RUN_PID=str(run.pid))
    wait_for(tmp_path / "child")
    assert running.poll() is None
    run.kill()
    run.wait()
    assert running.wait(timeout=60) == 128 + signal.SIGTERM

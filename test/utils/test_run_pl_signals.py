"""utils/run.pl: what happens to the jobs when it is stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

RUN = str(Path(__file__).resolve().parents[2] / "utils/run.pl")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, to see processes")


def start_family(tmp_path, script):
    """Start two jobs, each with a child and a grandchild; -> (the wrapper, process ids of all)."""
    wrapper = subprocess.Popen(
        [RUN, "--max_jobs_run", "2", "JOB=1:3", "x.JOB.log", "bash", "-c", script],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # The tests themselves may run under nohup, and run.pl then rightly ignores HUP.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert wait_until(lambda: len(list(tmp_path.glob("pid.*"))) == 6)
    time.sleep(0.1)
    pids = [int(p.read_text()) for p in tmp_path.glob("pid.*")]
    assert all(alive(pid) for pid in pids)
    return wrapper, pids


FAMILY = "echo $$ > pid.JOB.a; bash -c 'echo $$ > pid.JOB.b; sleep 300 & echo $! > pid.JOB.c; wait'; true"


@needs_proc
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_all_children(tmp_path, name):
    wrapper, pids = start_family(tmp_path, FAMILY)
    wrapper.send_signal(getattr(signal, name))
    _, stderr = wrapper.communicate(timeout=15)
    assert wrapper.returncode == -getattr(signal, name), "the caller sees the signal"
    assert stderr == f"run.pl: stopped by {name}, 2 running jobs ended, log is in x.*.log\n"
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 2)
    assert not (tmp_path / "x.3.log").exists(), "no further job is started"
    assert "# Ended (code 143; signal 15) at" in (tmp_path / "x.1.log").read_text()


@needs_proc
def test_children_that_ignore_term_are_killed(tmp_path):
    wrapper, pids = start_family(tmp_path, "trap '' TERM; " + FAMILY.replace("bash -c '", 'bash -c \'trap "" TERM; '))
    wrapper.send_signal(signal.SIGTERM)
    wrapper.communicate(timeout=30)
    assert wrapper.returncode == -signal.SIGTERM
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 2)


@needs_proc
def test_interrupt_reaches_jobs_of_a_background_wrapper(tmp_path):
    """A script's background commands start with SIGINT ignored; the wrapper must hear it all the same."""
    script = f'"{RUN}" x.log sleep 300 & echo $!; wait'
    shell = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pid = int(shell.stdout.readline())
    log = tmp_path / "x.log"
    assert wait_until(lambda: log.exists() and log.stat().st_size > 0)
    time.sleep(0.2)
    os.kill(pid, signal.SIGINT)
    assert wait_until(lambda: not alive(pid), 10)
    shell.communicate(timeout=10)
    assert "# Ended (code 143; signal 15)" in log.read_text()

"""utils/run.pl: what happens to the jobs when it is stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from wrappers import alive, needs_proc, nobody_asks_after_orphans, wait_until

RUN = str(Path(__file__).resolve().parents[2] / "utils/run.pl")


def start_family(tmp_path, script, *options, **env):
    """Start two jobs, each with a child and a grandchild; -> (the wrapper, process ids of all)."""
    wrapper = subprocess.Popen(
        [RUN, *options, "--max_jobs_run", "2", "JOB=1:3", "x.JOB.log", "bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **env},
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
    _, stderr = wrapper.communicate(timeout=60)
    assert wrapper.returncode == -getattr(signal, name), "the caller sees the signal"
    assert stderr == f"run.pl: stopped by {name}, 2 running jobs ended, log is in x.*.log\n"
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 10)
    assert not (tmp_path / "x.3.log").exists(), "no further job is started"
    assert "# Ended (code 143; signal 15) at" in (tmp_path / "x.1.log").read_text()


@needs_proc
def test_it_does_not_wait_for_what_has_ended(tmp_path):
    with nobody_asks_after_orphans():
        wrapper, _ = start_family(tmp_path, FAMILY, "--kill_wait", "120")
        wrapper.send_signal(signal.SIGTERM)
        wrapper.communicate(timeout=60)


DEAF = "trap '' TERM; " + FAMILY.replace("bash -c '", 'bash -c \'trap "" TERM; ')


@needs_proc
def test_children_that_ignore_term_are_killed(tmp_path):
    wrapper, pids = start_family(tmp_path, DEAF, "--kill_wait", "1")
    wrapper.send_signal(signal.SIGTERM)
    wrapper.communicate(timeout=60)
    assert wrapper.returncode == -signal.SIGTERM
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 10)


@needs_proc
@pytest.mark.slow(6)
def test_children_have_time_to_save_their_state(tmp_path):
    script = "trap 'sleep 6; echo saved; exit 99' TERM; echo begun; while :; do sleep 0.1; done"
    wrapper = subprocess.Popen([RUN, "x.log", "bash", "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL)
    log = tmp_path / "x.log"
    assert wait_until(lambda: log.exists() and "\nbegun\n" in log.read_text())
    wrapper.terminate()
    assert wrapper.wait(timeout=60) == -signal.SIGTERM
    assert "\nsaved\n" in log.read_text() and "(code 99)" in log.read_text()


@needs_proc
def test_jobs_end_with_the_run_that_wanted_them(tmp_path):
    """SEC_RUN_PID names a process that is killed without a chance to tell anybody."""
    run = subprocess.Popen(["sleep", "300"])
    wrapper, pids = start_family(tmp_path, FAMILY, SEC_RUN_PID=str(run.pid))
    time.sleep(1.5)
    assert wrapper.poll() is None, "as long as it runs, nothing happens"
    run.kill()
    run.wait()
    wrapper.communicate(timeout=60)
    assert wrapper.returncode == -signal.SIGTERM
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 10)


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
    shell.communicate(timeout=60)
    assert "# Ended (code 143; signal 15)" in log.read_text()

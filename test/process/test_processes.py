import os
import signal
import subprocess
import sys

import pytest
from wrappers import needs_proc, nobody_asks_after_orphans

from espnet2_secap.process import processes
from espnet2_secap.process.processes import ancestors, command_of, group_runs, resident, start_of, started_with

pytestmark = needs_proc


@pytest.fixture
def sleeper():
    """A process in a group of its own, with a variable of its own."""
    process = subprocess.Popen(["sleep", "300"], env={**os.environ, "SEC_TEST": "a b"}, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_running_process(sleeper):
    start = start_of(sleeper.pid)
    assert start.isdigit() and start_of(sleeper.pid) == start and start_of(os.getpid()) != ""
    assert command_of(sleeper.pid) == "sleep 300" and group_runs(sleeper.pid)
    line = ancestors(sleeper.pid)
    assert line[:2] == [sleeper.pid, os.getpid()] and len(set(line)) == len(line)
    assert sleeper.pid in started_with("SEC_TEST", "a b") and sleeper.pid not in started_with("SEC_TEST", "a")


def test_a_zombie_does_not_run(sleeper):
    sleeper.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert start_of(sleeper.pid) is None and not group_runs(sleeper.pid) and command_of(sleeper.pid) == ""
    assert sleeper.pid not in started_with("SEC_TEST", "a b")


def test_a_group_runs_while_one_of_it_does():
    with nobody_asks_after_orphans():
        shell = subprocess.Popen(["sh", "-c", "sleep 300 & echo $!"], stdout=subprocess.PIPE, start_new_session=True)
        child = int(shell.stdout.readline())
        shell.wait()
        shell.stdout.close()
        assert start_of(shell.pid) is None and group_runs(shell.pid)
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert not group_runs(shell.pid)


def test_a_process_that_never_was():
    nobody = 2**22 + 1
    assert start_of(nobody) is None and not group_runs(nobody)
    assert (command_of(nobody), resident(nobody)) == ("", 0)


def test_resident_memory_is_in_bytes():
    code = "block = bytearray(50_000_000); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert 50e6 < resident(process.pid) < 110e6
        process.communicate(b"\n")


def test_without_proc_only_whether_it_runs(sleeper, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert start_of(sleeper.pid) == "" and group_runs(sleeper.pid)
    assert ancestors(sleeper.pid) == [sleeper.pid] and started_with("SEC_TEST", "a b") == []
    sleeper.kill()
    sleeper.wait()
    assert start_of(sleeper.pid) is None and not group_runs(sleeper.pid)

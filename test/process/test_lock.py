"""The lock of a recipe folder, held and left by real scripts."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet2_secap.process.processes import start_of

pytestmark = pytest.mark.needs("proc")
REPO = Path(__file__).resolve().parents[2]
TAKE = f"""
exec {{fd}}<>lock
SEC_RUN=$({sys.executable} -m espnet2_secap.bin.sec_lock --fd $fd --file lock --pid $$ $PATIENCE) || exit 1
export SEC_RUN
echo taken
"""


def start(folder: Path, script: str, patience: str = "") -> subprocess.Popen:
    """A script that takes the lock and goes on."""
    return subprocess.Popen(
        ["bash", "-c", TAKE + script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO), "PATIENCE": patience},
        stdin=subprocess.PIPE,  # a script that reads stays until this is closed
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> int:
    """The process id that a script has written there."""
    end = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.01)
    return int(path.read_text())


def record(folder: Path) -> dict:
    return json.loads((folder / "lock").read_text())


def test_the_second_is_refused_and_told_by_whom(tmp_path):
    first = start(tmp_path, "read line; exit 0")
    assert first.stdout.readline() == "taken\n"
    second = start(tmp_path, "true")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 1 and out == "" and len(err.splitlines()) == 1
    assert f"sec_lock: error: lock is in use by process {first.pid} on {socket.gethostname()} since 20" in err
    assert "(bash -c " in err and f"stop it (kill {first.pid})" in err and "--lock FILE" in err
    assert record(tmp_path)["pid"] == first.pid
    first.kill()
    first.communicate(timeout=60)
    third = start(tmp_path, "true")
    assert third.communicate(timeout=60) == ("taken\n", "") and record(tmp_path)["pid"] == third.pid


def test_of_twenty_at_once_one_wins(tmp_path):
    (tmp_path / "lock").write_text("what somebody wrote\n")
    for _ in range(2):  # the second time over the record of a run that has ended
        runs = [start(tmp_path, "read line; exit 0") for _ in range(20)]
        (won,) = [run for run in runs if run.stdout.readline() == "taken\n"]
        lost = [run.communicate(timeout=60)[1] for run in runs if run is not won]
        assert len(lost) == 19 and all(f"by process {won.pid} on" in err for err in lost)
        assert won.poll() is None
        won.communicate("\n", timeout=60)


@pytest.mark.slow(6)
def test_children_hold_it_and_are_stopped_once_their_run_was_killed(tmp_path):
    forever = "for i in {1..1200}; do sleep 0.05; done"  # a minute
    (tmp_path / "child.sh").write_text(f"trap 'echo saved > saved; exit 0' TERM; echo $$ > child; {forever}")
    (tmp_path / "deaf.sh").write_text(f"trap : TERM; echo $$ > deaf; {forever}")
    python = "import subprocess; subprocess.run(['bash', 'deaf.sh'])"  # does not hand the descriptor on
    first = start(tmp_path, f'bash child.sh & {sys.executable} -c "{python}" & wait')
    child, deaf = wait_for(tmp_path / "child"), wait_for(tmp_path / "deaf")
    with (tmp_path / "lock").open() as reader:  # to read the file is not to hold the lock
        first.kill()
        first.wait(timeout=60)
        assert start_of(child) and start_of(deaf)
        second = start(tmp_path, "true", patience="--patience 6")
        out, err = second.communicate(timeout=60)
        assert not reader.closed
    assert out == "taken\n" and len(err.splitlines()) == 1, err
    assert f"sec_lock: note: lock: process {first.pid} was killed and left" in err and f"{child} (bash" in err
    assert (tmp_path / "saved").exists() and start_of(child) is None and start_of(deaf) is None


@pytest.mark.slow(6)
def test_only_the_dead_run_is_touched(tmp_path):
    other, here = tmp_path / "other", tmp_path / "here"
    for folder in (other, here):
        folder.mkdir()
    elsewhere = start(other, "(echo $BASHPID > child; exec sleep 600) & wait")
    theirs = wait_for(other / "child")
    holder = os.open(here / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    # Held by a process that carries no run's name, while the record names a dead one: told, not killed.
    dead = subprocess.Popen(["true"])
    dead.wait()
    old = {"pid": dead.pid, "host": socket.gethostname(), "start": "1", "since": "long ago", "command": "x"}
    (here / "lock").write_text(json.dumps(old))
    refused = start(here, "true")
    out, err = refused.communicate(timeout=60)
    assert refused.returncode == 1 and "lock is held by processes of a run that has ended" in err and out == ""
    os.close(holder)
    assert start(here, "true").communicate(timeout=60) == ("taken\n", "")
    assert start_of(theirs) is not None and elsewhere.poll() is None
    os.kill(theirs, signal.SIGKILL)
    elsewhere.communicate(timeout=60)


def test_a_number_that_was_given_again_is_not_the_run(tmp_path):
    """The record's process id belongs to another process by now: this one."""
    old = {"pid": os.getpid(), "host": socket.gethostname(), "start": "1", "since": "long ago", "command": "x"}
    (tmp_path / "lock").write_text(json.dumps(old))
    assert start(tmp_path, "true").communicate(timeout=60) == ("taken\n", "")


def test_a_run_on_another_host(tmp_path):
    old = {"pid": os.getpid(), "host": "n17", "start": start_of(os.getpid()), "since": "2026-01-01", "command": "x"}
    (tmp_path / "lock").write_text(json.dumps(old))
    with (tmp_path / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = start(tmp_path, "true")
        assert f"by process {os.getpid()} on n17 since 2026-01-01 (x)" in refused.communicate(timeout=60)[1]
    assert start(tmp_path, "true").communicate(timeout=60) == ("taken\n", "")  # it has ended there

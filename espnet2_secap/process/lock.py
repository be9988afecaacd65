"""One run of a recipe folder at a time.

The lock is flock's: it belongs to a descriptor that sec.sh opens and its children inherit, so it is held until the
last of them has ended, and no longer. Who took it stands in the file, for the message. Not every child inherits the
descriptor (Python's subprocess closes it), so each also carries the run's name in its environment: by that name the
processes are found that a run leaves behind when it is killed with -9.
"""

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.processes import ancestors, command_of, start_of, started_with

VARIABLE = "SEC_RUN"  # environment variable with the run's name
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of file systems without flock
WRITING = 5.0  # seconds in which one that has just taken the lock will have said so


@dataclass(frozen=True)
class Owner:
    """The run that holds the lock, or held it last: process of sec.sh, its host, its start (ticks), time, command."""

    pid: int
    host: str
    start: str
    since: str
    command: str

    @property
    def run(self) -> str:
        """Name of the run."""
        return f"{self.host}:{self.pid}:{self.start}"

    def here(self) -> bool:
        """Whether it is (or was) a process of this machine."""
        return self.host == socket.gethostname()

    def runs(self) -> bool:
        """Whether it still runs, as far as can be told from here."""
        return self.here() and start_of(self.pid) == self.start


def take(descriptor: int, path: str | Path, pid: int, patience: float = 45.0) -> str:
    """Take the lock for process `pid`, which has opened `path` as `descriptor`, for reading and writing.

    Args:
        descriptor: inherited from that process.
        path: what it is called, for messages.
        pid: the process.
        patience: seconds that processes left over by a killed run get between TERM and KILL.

    Returns:
        the run's name, for VARIABLE.

    Raises:
        SecError: another run holds it.
    """
    path, until = str(path), time.monotonic() + WRITING
    while True:
        state = _try(descriptor, path)
        owner = _read(descriptor)
        runs = owner is not None and owner.runs()
        if owner is not None and (runs if state == "unknown" else state == "held" and (runs or not owner.here())):
            what = f"process {owner.pid} on {owner.host} since {owner.since} ({shorten(owner.command, 100)})"
            there = "" if owner.here() else f"on {owner.host}: "
            raise SecError(
                f"{path} is in use by {what}; wait for it, stop it ({there}kill {owner.pid}), or give this run another "
                "folder or --lock FILE"
            )
        if owner is not None and owner.here() and not runs and _stop_left_over(owner, path, patience):
            until = time.monotonic() + WRITING
        if state != "held":
            return _write(descriptor, pid)
        if time.monotonic() > until:
            raise SecError(
                f"{path} is held by processes of a run that has ended, and they cannot be told from others here; find "
                f"them (lsof {path}), stop them, or give this run another folder or --lock FILE"
            )
        time.sleep(0.05)


def _try(descriptor: int, path: str) -> str:
    """Try to lock: "ours" or "held", or "unknown" where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "ours"
    except BlockingIOError:
        return "held"
    except OSError as err:
        if err.errno not in NO_LOCKS:
            raise
    print(
        f"sec_lock: warning: {path}: its file system knows no locks, so runs on other hosts are not noticed",
        file=sys.stderr,
    )
    return "unknown"


def _read(descriptor: int) -> Owner | None:
    """What the file says; None if that is nothing, or is being written."""
    try:
        owner = Owner(**json.loads(os.pread(descriptor, 65536, 0)))
    except (ValueError, TypeError, RecursionError):
        return None
    return (
        owner if all(isinstance(value, int if key == "pid" else str) for key, value in asdict(owner).items()) else None
    )


def _write(descriptor: int, pid: int) -> str:
    owner = Owner(pid, socket.gethostname(), start_of(pid) or "", time.strftime("%Y-%m-%d %H:%M:%S"), command_of(pid))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(owner), ensure_ascii=False).encode() + b"\n", 0)
    return owner.run


def _stop_left_over(owner: Owner, path: str, patience: float) -> bool:
    """End what the run of `owner`, which is dead, has left behind: TERM, then KILL for what does not heed it.

    Returns:
        whether there was anything.
    """
    told, killing = {}, False
    until = time.monotonic() + patience
    while left := _left_over(owner):
        if not told:
            which = ", ".join(f"{pid} ({shorten(command_of(pid), 60)})" for pid in left)
            print(
                f"sec_lock: note: {path}: process {owner.pid} was killed and left {len(left)} processes behind, "
                f"which are stopped now: {which}",
                file=sys.stderr,
            )
        if time.monotonic() > until:
            if killing:
                raise SecError(f"{path}: processes {', '.join(map(str, left))} of a killed run cannot be stopped")
            killing, told, until = True, {}, time.monotonic() + 10
        for pid, start in left.items():
            if told.get(pid) != start:
                _send(pid, signal.SIGKILL if killing else signal.SIGTERM)
                told[pid] = start
        time.sleep(0.05)
    return bool(told)


def _left_over(owner: Owner) -> dict[int, str]:
    """Processes that carry the name of the run, with their starts; never this one, nor one above it."""
    mine = ancestors(os.getpid())
    found = {pid: start_of(pid) for pid in started_with(VARIABLE, owner.run) if pid not in mine}
    return {pid: start for pid, start in found.items() if start is not None}


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

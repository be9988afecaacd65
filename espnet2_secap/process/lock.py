"""One run of a recipe folder at a time.

The lock is taken by flock on a file descriptor that sec.sh opens and its children inherit, so it is held until the last
of them has ended. The file contains its owner, for the message. Not every child inherits the descriptor (Python's
subprocess closes it), so each also has the run's name in its environment, by which the processes are found that a run
leaves behind when it is killed with -9.
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
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # errors of file systems without flock
WRITING = 5.0  # seconds within which a new owner writes its record into the file


@dataclass(frozen=True)
class Owner:
    """The run that holds the lock, or held it last: process id of sec.sh, host, start (ticks), time, command line."""

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
        """Whether it is (or was) a process on this machine."""
        return self.host == socket.gethostname()

    def runs(self) -> bool:
        """Whether it still runs on this machine."""
        return self.here() and start_of(self.pid) == self.start


def take(descriptor: int, path: str | Path, pid: int, patience: float = 45.0) -> str:
    """Take the lock for process `pid`, which has opened `path` as `descriptor` for reading and writing.

    Args:
        descriptor: inherited from that process.
        path: of the lock file, for messages.
        pid: the process.
        patience: seconds between TERM and KILL for processes that a killed run has left behind.

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
                f"{path} is held by processes of a run that has ended, but they cannot be identified; find them "
                f"(lsof {path}) and stop them, or give this run another folder or --lock FILE"
            )
        time.sleep(0.05)


def _try(descriptor: int, path: str) -> str:
    """Try to lock: "ours" or "held", or "unknown" if the file system does not support locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "ours"
    except BlockingIOError:
        return "held"
    except OSError as err:
        if err.errno not in NO_LOCKS:
            raise
    print(
        f"sec_lock: warning: {path}: its file system does not support locks, so runs on other hosts are not detected",
        file=sys.stderr,
    )
    return "unknown"


def _read(descriptor: int) -> Owner | None:
    """The owner in the file; None if there is none or it is being written."""
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
    """End the processes that the dead run of `owner` has left behind: by TERM, then by KILL.

    Returns:
        whether there were any.
    """
    signalled, killing = {}, False
    until = time.monotonic() + patience
    while left := _left_over(owner):
        if not signalled:
            which = ", ".join(f"{pid} ({shorten(command_of(pid), 60)})" for pid in left)
            print(
                f"sec_lock: note: {path}: process {owner.pid} was killed and left {len(left)} processes behind, "
                f"which are now stopped: {which}",
                file=sys.stderr,
            )
        if time.monotonic() > until:
            if killing:
                raise SecError(f"{path}: processes {', '.join(map(str, left))} of a killed run cannot be stopped")
            killing, signalled, until = True, {}, time.monotonic() + 10
        for pid, start in left.items():
            if signalled.get(pid) != start:
                _send(pid, signal.SIGKILL if killing else signal.SIGTERM)
                signalled[pid] = start
        time.sleep(0.05)
    return bool(signalled)


def _left_over(owner: Owner) -> dict[int, str]:
    """Processes with the run's name in their environment, and their starts, without this process and its ancestors."""
    mine = ancestors(os.getpid())
    found = {pid: start_of(pid) for pid in started_with(VARIABLE, owner.run) if pid not in mine}
    return {pid: start for pid, start in found.items() if start is not None}


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

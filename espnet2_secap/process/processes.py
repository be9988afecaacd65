"""The processes of this machine, from /proc; without /proc only whether a process runs."""

import os
import shlex
from pathlib import Path

PROC = Path("/proc")


def _stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (state, parent, process group, ...); None if there are none."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def start_of(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks: together with the process id it is unique.

    Returns:
        "" without /proc; None if no such process runs (a zombie does not run).
    """
    fields = _stat(pid)
    if fields:
        return None if fields[0] in "ZX" else fields[19]
    if _stat("self"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def group_runs(group: int) -> bool:
    """Whether any process of this process group runs.

    Zombies do not count: in a container without an init process they stay, and a signal to the group succeeds.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for path in PROC.glob("[0-9]*"):
        fields = _stat(path.name)  # None: it has ended in the meantime
        if fields and int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return not _stat("self")


def command_of(pid: int) -> str:
    """The command line of a process, or "" if it cannot be read."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return ""
    return shlex.join(word.decode("utf-8", "replace") for word in words)


def resident(pid: int) -> int:
    """The resident set size of a process in bytes, or 0 if it cannot be read."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def ancestors(pid: int) -> list[int]:
    """The process and all its ancestors; without /proc the process alone."""
    line = []
    while pid > 0 and pid not in line:
        line.append(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return line


def started_with(variable: str, value: str) -> list[int]:
    """Processes in whose environment `variable` had this value when they were started; none without /proc.

    Processes of other users cannot be read.
    """
    wanted, found = f"{variable}={value}".encode(), []
    for path in PROC.glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended or belongs to another user
            continue
    return sorted(found)

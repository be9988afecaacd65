"""Runs a training and shows its progress on this terminal, from its log."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet2_secap.errors import shorten
from espnet2_secap.process.processes import group_runs, start_of

SHOWN = ("loss", "sccl", "mi", "retrieval")
WARNINGS = 20  # at most, of different texts


def epoch_line(line: str, left: str = "") -> str | None:
    """One line of ESPnet's log -> the line to show, or None.

    Args:
        line: of train.log.
        left: ESPnet's latest estimate of the time left.
    """
    match = re.search(r"(\d+)epoch results: (.*)", line)
    if match is None:
        return None
    shown = []
    for split, values in re.findall(r"\[(train|valid)\] ([^\[]*)", match[2]):
        pairs = dict(re.findall(r"(\w+)=([^,\s]+)", values))
        shown.append(" ".join([split, *(f"{key} {pairs[key]}" for key in SHOWN if key in pairs)]))
    return f"  epoch {match[1]}: {', '.join(shown)}" + (f" ({left} left)" if left else "")


def warning_of(line: str) -> str | None:
    """The text of a line of a training's log that warns, or None."""
    match = re.match(r"(?:\[[^\]]*\] [-\d]+ [:,\d]+ \([^)]*\) WARNING|sec_train: note): (.*)", line)
    return match and match[1].strip()


def follow(log: Path, command: Sequence[str], poll: float = 0.2, patience: float = 40.0) -> int:
    """Run `command`, print a line per epoch and per warning in `log`, and return the command's exit status.

    Of warnings that differ in numbers only the first is printed.

    INT, TERM and the end of the process SEC_RUN_PID (sec.sh) end the command's process group and then this program; a
    training first saves its state.

    Args:
        log: of the training; the launcher renames an older one.
        command: the command and its arguments.
        poll: seconds between two looks at the log.
        patience: seconds between TERM and KILL.
    """
    try:
        before = log.stat().st_ino
    except FileNotFoundError:
        before = None
    process, early = None, []

    def end(number, frame):
        if process is None:  # the command is just being started: it is ended below
            early.append(number)
            return
        for ignored in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ignored, signal.SIG_IGN)
        _end_group(process, patience)
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    process = subprocess.Popen(command, start_new_session=True)
    if early:
        end(early[0], None)
    left, warned = "", set()
    for line in _lines(log, before, process, poll):
        estimate = re.search(r"Estimated time to finish: (.*)", line)
        left = estimate[1].strip() if estimate else left
        shown = epoch_line(line, left)
        if shown:
            print(shown, flush=True)
        warning = warning_of(line)
        kind = warning and re.sub(r"\d+", "0", warning)[:60]
        if warning and kind not in warned and len(warned) < WARNINGS:
            warned.add(kind)
            print(f"  warning: {shorten(warning, 500)}", flush=True)
    return process.returncode


def _end_group(process: subprocess.Popen, patience: float) -> None:
    """TERM to the process group of `process`, and KILL to what still runs after `patience` seconds."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        give_up = time.monotonic() + seconds
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        while time.monotonic() < give_up and group_runs(process.pid):
            time.sleep(0.05)
    process.poll()


def _run_is_gone() -> bool:
    pid = os.environ.get("SEC_RUN_PID", "")
    return pid.isdigit() and start_of(int(pid)) is None


def _lines(log: Path, before: int | None, process: subprocess.Popen, poll: float) -> Iterator[str]:
    """The lines of `log`, which the launcher creates anew (not inode `before`), until the process has ended."""
    stream, rest = None, ""
    while True:
        ended = process.poll() is not None
        if stream is None and log.exists() and log.stat().st_ino != before:
            stream = log.open(encoding="utf-8", errors="replace")
        if stream is not None:
            *lines, rest = (rest + stream.read()).split("\n")
            yield from lines
        if ended:
            return
        if _run_is_gone():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(poll)

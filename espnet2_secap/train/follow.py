"""Run a training and show on this terminal how it gets on, from the log that it writes elsewhere."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SHOWN = ("loss", "sccl", "mi", "retrieval")


def epoch_line(line: str, left: str = "") -> str | None:
    """One line of ESPnet's log -> what to show of it, or none.

    Args:
        line: of train.log.
        left: time left, as ESPnet estimated it last.
    """
    match = re.search(r"(\d+)epoch results: (.*)", line)
    if match is None:
        return None
    shown = []
    for split, values in re.findall(r"\[(train|valid)\] ([^\[]*)", match[2]):
        pairs = dict(re.findall(r"(\w+)=([^,\s]+)", values))
        shown.append(" ".join([split, *(f"{key} {pairs[key]}" for key in SHOWN if key in pairs)]))
    return f"  epoch {match[1]}: {', '.join(shown)}" + (f" ({left} left)" if left else "")


def follow(log: Path, command: Sequence[str], poll: float = 0.2) -> int:
    """Run `command`, print a line per epoch that appears in `log`, and return the command's exit status.

    INT and TERM end the command, which has a process group of its own, and then this program.
    """
    try:
        before = log.stat().st_ino
    except FileNotFoundError:
        before = None
    process = subprocess.Popen(command, start_new_session=True)

    def end(number, frame):
        import os

        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    left = ""
    for line in _lines(log, before, process, poll):
        estimate = re.search(r"Estimated time to finish: (.*)", line)
        left = estimate[1].strip() if estimate else left
        shown = epoch_line(line, left)
        if shown:
            print(shown, flush=True)
    return process.returncode


def _lines(log: Path, before: int | None, process: subprocess.Popen, poll: float) -> Iterator[str]:
    """The lines of `log`, which the launcher makes anew (not inode `before`), until the process has ended."""
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
        time.sleep(poll)

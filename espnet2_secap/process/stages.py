"""Stage, wall time and peak memory of a run of sec.sh, from a file that all runs of an experiment folder append to.

A line of the file is a run's name, the time (s), an event and its values, separated by tabs:
begin NUMBER TITLE, memory BYTES (a new peak of the stage that began last), end STATUS (of sec.sh).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.errors import shorten
from espnet2_secap.process.lock import VARIABLE
from espnet2_secap.process.processes import resident, started_with

GROWTH = 1.02  # a peak is written when it exceeds the last one written by this factor, and at the end
TITLE = 60  # characters of a title in the table


@dataclass
class Stage:
    """One stage of a run.

    Args:
        number: of the stage.
        title: what it does.
        start, end: seconds since the epoch.
        memory: peak in bytes; 0 where it was not measured.
        status: exit status of sec.sh where it ended within this stage, else 0.
    """

    number: str
    title: str
    start: float
    end: float
    memory: int = 0
    status: int = 0


def append(path: str | Path, run: str, event: str, *values: object) -> None:
    """Add a line to the file, in one piece: other runs may append at the same time."""
    fields = [run, f"{time.time():.3f}", event, *map(str, values)]
    line = "\t".join(shorten(field, 200) for field in fields) + "\n"
    with open(path, "ab", buffering=0) as stream:
        stream.write(line.encode("utf-8", "replace"))


def read_stages(path: str | Path, run: str) -> list[Stage]:
    """The stages of a run in the order in which they began; lines that cannot be read are left out.

    The end of a stage is the beginning of the next, the end of the run, or the last line written.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    stages: list[Stage] = []
    for line in lines:
        try:
            name, when, event, *values = line.split("\t")
            if name != run:
                continue
            now = float(when)
            if stages:
                stages[-1].end = max(stages[-1].end, now)
            if event == "begin":
                stages.append(Stage(values[0], values[1], now, now))
            elif event == "memory":
                stages[-1].memory = max(stages[-1].memory, int(values[0]))
            elif event == "end":
                stages[-1].status = int(values[0])
        except (ValueError, IndexError):  # cut short by a kill or a full disk
            continue
    return stages


def watch(path: str | Path, run: str, parent: int, interval: float = 1.0, poll: float = 0.2) -> None:
    """Record the memory of the run's stages until process `parent`, which must be ours, ends, or SystemExit.

    The memory is the sum of the resident set sizes of all processes that carry the run's name in their environment.
    Pages that several of them share count in each.

    Args:
        path: of the file.
        run: name of the run.
        parent: process id of sec.sh.
        interval: seconds between two measurements.
        poll: seconds between two looks at whether the parent still runs.
    """
    stage, peak, written, due = 0, 0, 0, 0.0
    try:
        while os.getppid() == parent:
            if time.monotonic() >= due:
                due = time.monotonic() + interval
                began = len(read_stages(path, run))
                now = sum(map(resident, started_with(VARIABLE, run)))
                if began != stage:  # the last peak of the stage before is lost if it grew by less than GROWTH
                    stage, peak, written = began, 0, 0
                peak = max(peak, now)
                if stage and peak > written * GROWTH:
                    append(path, run, "memory", peak)
                    written = peak
            time.sleep(poll)
    finally:
        if stage and peak > written:
            append(path, run, "memory", peak)


def table(stages: list[Stage]) -> str:
    """Stage, wall time, peak memory, one line each, and their sum and maximum; ends in a newline."""
    rows = [("stage", "", "wall", "peak memory")]
    for stage in stages:
        title = shorten(stage.title, TITLE) + (f" (ended with status {stage.status})" if stage.status else "")
        rows.append((stage.number, title, clock(stage.end - stage.start), gigabytes(stage.memory)))
    if len(stages) > 1:
        memory = max(stage.memory for stage in stages)
        rows.append(("all", "", clock(stages[-1].end - stages[0].start), gigabytes(memory)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        f"{number:>{widths[0]}}  {title:<{widths[1]}}  {wall:>{widths[2]}}  {memory:>{widths[3]}}\n"
        for number, title, wall, memory in rows
    )


def clock(seconds: float) -> str:
    """Seconds as hours:minutes:seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def gigabytes(size: int) -> str:
    """Bytes as GB; n/a for 0, which means that nothing was measured."""
    return f"{size / 1e9:.2f} GB" if size else "n/a"

"""Killing a recipe's stage at random moments, going on with the same command, and comparing what it leaves.

For test/egs2/test_interruptions.py and tools/benchmark_kills.py.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from recipe import CALL

from espnet2_secap.process.processes import command_of, start_of, started_with

MARK = "SEC_KILLS"  # environment variable by which all processes of a run are found, whatever group they are in
IN_USE = "is in use by process"  # sec_lock: a single process was killed, and others go on
SCORES = {"score.json", "scores.tsv", "score_meta.json", "probe.json"}
CURVES_LEFT_OUT = re.compile(r"^\d+\t\w+\t\w*time\t")  # of curves.tsv
TIMEOUT = 900  # seconds for a stage


def stage_of(path: Path) -> int | None:
    """The stage that makes a file of a recipe folder, seen from there; none for logs and the like."""
    top, *rest = path.parts
    not_made = re.search(r"\.log$|\.log\.|^\.dist_init|^\.lock$|^\.stages\.tsv$", path.name)
    if "logs" in rest or "tensorboard" in rest or not_made:
        return None
    if top == "dump":
        return 2 if rest[0] == "raw" else 3
    if top != "exp":
        return None
    nearest = len(rest) > 1 and rest[1].endswith("_nearest_caption")
    if nearest or path.name in SCORES or rest[0] in ("random_caption", "frequent_caption", "images") or len(rest) == 1:
        return 8
    for start, stage in (("sec_stats_", 4), ("sec_align_", 5)):
        if rest[0].startswith(start):
            return stage
    return 7 if rest[1].startswith("decode") else 6


def files_of(folder: Path, stage: int) -> dict[str, Path]:
    """What a stage has made, by name."""
    found = [path for top in ("dump", "exp") for path in (folder / top).rglob("*") if not path.is_dir()]
    return {str(name): folder / name for path in found if stage_of(name := path.relative_to(folder)) == stage}


def outputs(folder: Path, stage: int) -> dict[str, str]:
    """What is to be equal: a hash by name. Of trainings: the curves without times, and the tensors of models."""
    files = files_of(folder, stage)
    if stage in (5, 6):
        models = [name for name, path in files.items() if path.suffix == ".pth" and path.name[:10] != "checkpoint"]
        return {name: _tensors(files[name]) for name in models} | {
            name: _curves(path) for name, path in files.items() if path.name == "curves.tsv"
        }
    return {name: _hash(path.read_bytes()) for name, path in files.items()}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _curves(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return _hash("\n".join(line for line in lines if not CURVES_LEFT_OUT.match(line)).encode())


def _tensors(path: Path) -> str:
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    parts = [f"{name} {value.dtype} {tuple(value.shape)}".encode() for name, value in state.items()]
    return _hash(b"".join(parts + [value.contiguous().numpy().tobytes() for value in state.values()]))


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What is missing, too much, or other."""
    return [
        f"{name}: {'missing' if name not in found else 'too much' if name not in expected else 'differs'}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def stage_seconds(printed: str) -> dict[int, float]:
    """How long each stage took, at least a second, from what sec.sh printed."""
    times = re.findall(r"^(\d\d:\d\d:\d\d) (?:Stage (\d)|Done)", printed, re.MULTILINE)
    clock = [datetime.strptime(when, "%H:%M:%S") for when, _ in times]
    return {
        int(stage): max(float((end - start).seconds), 1.0)  # .seconds: also past midnight
        for (_, stage), start, end in zip(times, clock, clock[1:], strict=False)
        if stage
    }


@dataclass
class Trial:
    """A stage that is killed several times.

    Args:
        folder: a recipe folder in which the stages before it have run; what the stage makes is removed.
        stage: its number.
        seconds: how long it takes undisturbed.
        seed: of the moments, and of the processes that are killed.
        alone: kill one process each time, as the system does where memory runs out, instead of all.
    """

    folder: Path
    stage: int
    seconds: float
    seed: int
    alone: bool = False
    killed: list[str] = field(default_factory=list)  # what was killed, and when

    def __post_init__(self):
        self.random = random.Random(f"{self.seed} {self.stage}")
        self.mark = uuid.uuid4().hex
        for path in files_of(self.folder, self.stage).values():
            path.unlink()
        for name in ("random_caption", "frequent_caption"):
            if self.stage == 8:
                shutil.rmtree(self.folder / "exp" / name, ignore_errors=True)

    def run(self, kills: int) -> list[str]:
        """Kill it this many times, let it go to its end, and say what went wrong; nothing if all is well."""
        try:
            for _ in range(kills):
                self._killed()
            return self._to_the_end()
        except subprocess.TimeoutExpired:
            return [f"did not end within {TIMEOUT} s"]
        finally:
            self._kill_all()

    def _start(self, log) -> subprocess.Popen:
        stage = str(self.stage)
        return subprocess.Popen(
            [*CALL, "--stage", stage, "--stop-stage", stage],
            cwd=self.folder,
            env={**os.environ, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _members(self) -> list[int]:
        return [pid for pid in started_with(MARK, self.mark) if start_of(pid) is not None]

    def _killed(self) -> None:
        """Start it, and kill it."""
        moment = self.random.uniform(0, self.seconds)
        chosen = self.random.random()
        start, process = time.monotonic(), self._start(subprocess.DEVNULL)
        try:
            process.wait(timeout=moment)
            self.seconds = time.monotonic() - start  # the next kill comes earlier
            self.killed.append(f"ended before {moment:.2f} s")
            return
        except subprocess.TimeoutExpired:
            pass
        if not self.alone:
            self._kill_all()
            process.wait()
            self.killed.append(f"all at {moment:.2f} s")
            return
        members = self._members()
        if members:
            victim = members[int(chosen * len(members))]
            self.killed.append(f"{command_of(victim)[:100]!r} at {moment:.2f} s")
            _kill(victim)
        process.wait(timeout=TIMEOUT)

    def _kill_all(self) -> None:
        while members := self._members():
            for pid in members:
                _kill(pid)
            time.sleep(0.01)

    def _to_the_end(self) -> list[str]:
        until = time.monotonic() + TIMEOUT
        while True:
            with (self.folder / "end.log").open("w+") as log:
                status = self._start(log).wait(timeout=TIMEOUT)
                log.seek(0)
                said = log.read()
            if status == 0:
                break
            if IN_USE not in said or time.monotonic() > until:
                return [f"exit status {status}: {said[-1500:]}"]
            time.sleep(0.5)  # what a single kill has left goes on, and may end well
        left = [command_of(pid)[:100] for pid in self._members()]
        return [f"left behind: {', '.join(left)}"] if left else []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

"""Commands that wait for others, several at a time, each with its log; a failure holds back only what needs it."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.errors import SecError

ERROR = re.compile(r" error: ")
KILL_WAIT = 60  # seconds that a command has to end after TERM


@dataclass(frozen=True)
class Job:
    """A command.

    Args:
        name: of the job, unique.
        command: its words.
        log: file of its output.
        after: names of jobs that must have ended well before; names that are no jobs count as done.
        alone: of the jobs with the same name here, one runs at a time.
        memory: bytes that must be free for it to start beside others.
    """

    name: str
    command: Sequence[str]
    log: Path
    after: Collection[str] = ()
    alone: str = ""
    memory: int = 0


@dataclass(frozen=True)
class Failure:
    """A job that has failed, with its last line that says why; or one that was held back by another."""

    job: Job
    reason: str


def run_jobs(
    todo: Iterable[Job],
    jobs: int,
    ended: Callable[[Job, float], None],
    said: Callable[[str], None] = print,
    free: Callable[[], int] | None = None,
    poll: float = 0.2,
) -> list[Failure]:
    """Run all jobs by run.pl, `jobs` at a time, in the order given where nothing holds them back.

    run.pl ends a job with all its child processes when this process ends, in whatever way.

    Args:
        ended: called when a job has ended well, with the seconds that it took.
        said: takes a line for each begin and end.
        free: bytes of memory that are free; /proc/meminfo if none is given.
        poll: seconds between two looks.

    Returns:
        what has failed, and what could not begin for that reason.
    """
    todo, running, failures = list(todo), {}, []
    waiting = {job.name for job in todo}
    free, total = free or free_memory, len(todo)
    try:
        while todo or running:
            for name, (job, process, began) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                took = time.monotonic() - began
                if process.returncode == 0:
                    waiting.discard(name)
                    ended(job, took)
                    said(f"{_now()} {name} has ended ({total - len(todo) - len(running)} of {total})")
                else:
                    reason = why(job.log)
                    failures.append(Failure(job, reason))
                    said(f"{_now()} {name} has failed: {reason}; log: {job.log}")
            failed = {failure.job.name for failure in failures}
            for job in [job for job in todo if failed & set(job.after)]:
                todo.remove(job)
                failures.append(Failure(job, f"waits for {', '.join(sorted(failed & set(job.after)))}"))
                failed.add(job.name)
            busy = {job.alone for job, *_ in running.values() if job.alone}
            for job in list(todo):
                if len(running) >= jobs:
                    break
                if waiting & set(job.after) or (job.alone and job.alone in busy):
                    continue
                if running and job.memory > free():
                    continue
                todo.remove(job)
                busy |= {job.alone} - {""}
                said(f"{_now()} {job.name} begins; log: {job.log}")
                running[job.name] = job, _start(job), time.monotonic()
            if todo or running:
                time.sleep(poll)
    finally:
        _stop([process for _, process, _ in running.values()])
    return failures


def _start(job: Job) -> subprocess.Popen:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SEC_RUN_PID": str(os.getpid())}
    words = ["run.pl", "--kill_wait", str(KILL_WAIT), str(job.log), *job.command]
    try:
        # run.pl repeats the errors in the log, of which `why` takes one
        return subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise SecError("run.pl: is not in PATH; run . ./path.sh in the recipe's folder first") from None


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def why(log: Path) -> str:
    """The last line of a log that says what is wrong, and not only that something is."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if ERROR.search(line) and not line.startswith("#")]
    causes = [line for line in told if "ended early" not in line] or told
    return causes[-1].strip() if causes else "it ended early"


def free_memory() -> int:
    """Bytes of memory that programs can still get, from /proc/meminfo; as good as unlimited without it."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else 1 << 62


def _now() -> str:
    return time.strftime("%H:%M:%S")

"""Parallel jobs: dealing work to them, keeping what each has finished, and telling what it was made from."""

import hashlib
import json
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.files import atomic_write, make_dir, named_os_errors

Item = TypeVar("Item", bound=Hashable)
Key = str | int
UNFINISHED = "not finished"
OTHER = "made from other data, another model or other options"


def check_job(nj: int, job: int) -> None:
    """Raise a SecError unless `job` is one of 1 to `nj`."""
    if nj < 1:
        raise SecError(f"--nj {nj}: must be 1 or more")
    if not 1 <= job <= nj:
        raise SecError(f"--job {job}: must be between 1 and {nj} (--nj)")


def part_of(items: Sequence[Item], nj: int, job: int) -> list[Item]:
    """Slice `job` (1 to `nj`) of `items`: contiguous, near-equal, empty where items are few."""
    check_job(nj, job)
    return list(items[len(items) * (job - 1) // nj : len(items) * job // nj])


def deal(loads: Mapping[Item, float], nj: int) -> list[list[Item]]:
    """Items of each of `nj` jobs: the largest first, each to the job with the least load so far.

    Args:
        loads: item -> how long it takes, in any unit. A job's items stay in this order.
        nj: number of jobs.
    """
    totals, job_of = [0.0] * nj, {}
    for item in sorted(loads, key=lambda item: -loads[item]):  # items of one load stay in their order
        least = totals.index(min(totals))
        totals[least] += loads[item]
        job_of[item] = least
    return [[item for item in loads if job_of[item] == job] for job in range(nj)]


def share(loads: Mapping[Item, float], nj: int, job: int) -> list[Item]:
    """The items of job `job` (1 to `nj`), see `deal`.

    Raises:
        SecError: no such job.
    """
    check_job(nj, job)
    return deal(loads, nj)[job - 1]


def run_again(folder: str | Path, stage: int, nj: int, problems: Mapping[int, str]) -> SecError:
    """The error that says which jobs of a stage must be run again.

    Args:
        folder: what the jobs write into.
        problems: job -> what its work is (UNFINISHED, OTHER, ...).
    """
    kinds = dict.fromkeys(problems[job] for job in sorted(problems))
    jobs = {kind: ", ".join(str(job) for job in sorted(problems) if problems[job] == kind) for kind in kinds}
    said = "; ".join(f"job(s) {shorten(named)} of {nj}: {kind}" for kind, named in jobs.items())
    return SecError(f"{folder}: {said}; run them again (stage {stage}), finished work is kept")


class Journal:
    """What a job has finished, one line per piece of work, on the disk as soon as it is done.

    The first line says what the work is made from and which pieces are the job's. A job that is started again takes
    over the pieces of all journals with the same header, whatever the number of jobs was when they were written.

    Args:
        folder: journals are in FOLDER/.jobs.
        name: what the work is; part of the file's name.
        job, nj: this is job `job` of `nj`.
        header: what the work is made from.
        keys: of the job's pieces.
        resume: take over finished pieces. Without, the job looks at what is there itself.

    Attributes:
        done: key -> result of the pieces that are finished.
        earlier: key -> result of pieces by the journals that were there, whatever their headers; for who looks itself.
        keys: of the job's pieces.
    """

    def __init__(
        self, folder: str | Path, name: str, job: int, nj: int, header: Any, keys: Iterable[Key], resume: bool = True
    ):
        self.path = journal_file(folder, name, job, nj)
        self.keys, self.done, self.earlier = list(keys), {}, {}
        journals = make_dir(self.path.parent).glob(f"{name}.*.jsonl")
        for path in sorted(journals, key=lambda path: path.stat().st_mtime_ns):
            found = _read(path)
            if not found:
                continue
            results = {key: found[2][key] for key in self.keys if key in found[2]}
            self.earlier |= results
            if resume and found[0] == header:
                self.done |= results
        with atomic_write(self.path) as file:
            _write(file, {"header": header, "keys": self.keys})
            for piece in self.done.items():
                _write(file, piece)

    @property
    def todo(self) -> list[Key]:
        """The job's pieces that are not finished, in their order."""
        return [key for key in self.keys if key not in self.done]

    def add(self, key: Key, result: Any) -> None:
        """Keep the result of a piece, anything that JSON can hold."""
        with named_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            _write(file, (key, result))
        self.done[key] = result


def journal_file(folder: str | Path, name: str, job: int, nj: int) -> Path:
    """The journal of job `job` of `nj`."""
    return Path(folder) / ".jobs" / f"{name}.{job}of{nj}.jsonl"


def gather(folder: str | Path, name: str, nj: int, stage: int, header: Any = None) -> tuple[Any, dict[int, dict]]:
    """What all `nj` jobs have finished: the header, and for each job key -> result.

    Args:
        folder, name, nj: as in `Journal`.
        stage: for the message.
        header: what the work must be made from; if None, all jobs' must be the same.

    Raises:
        SecError: jobs have not finished, or their work is made from something else.
    """
    journals = {job: _read(journal_file(folder, name, job, nj)) for job in range(1, nj + 1)}
    problems = {
        job: UNFINISHED for job, found in journals.items() if found is None or any(k not in found[2] for k in found[1])
    }
    headers = [found[0] for found in journals.values() if found]
    mixed = header is None and any(other != headers[0] for other in headers)
    for job, found in journals.items():
        if found and (mixed or (header is not None and found[0] != header)):
            problems[job] = OTHER
    if problems:
        raise run_again(folder, stage, nj, problems)
    return headers[0], {job: {key: found[2][key] for key in found[1]} for job, found in journals.items()}


def _write(file: IO, line: Any) -> None:
    file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _read(path: Path) -> tuple[Any, list[Key], dict[Key, Any]] | None:
    """Header, keys and finished pieces, up to the first line that is not whole; None where there is no journal."""
    try:
        first, *lines = path.read_bytes().splitlines(keepends=True)
        start = json.loads(first)
        header, keys = start["header"], list(start["keys"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    done = {}
    for line in lines:
        try:
            key, result = json.loads(line)
            if not line.endswith(b"\n"):
                break
            done[key] = result
        except (ValueError, TypeError, RecursionError):
            break
    return header, keys, done


def fingerprint(content: Any) -> str:
    """A hash of anything that JSON can hold: it changes with what a piece of work is made from."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content: the same wherever it lies and whenever it was written."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 22):
            total.update(part)
    return total.hexdigest()


def stamps(names: Iterable[str]) -> list[list]:
    """Name, size and time of the files, and of those in the folders, of these names; what is neither is left out."""
    return [stat_of(file) for name in names for file in _files(name)]


def _files(name: str) -> list[str]:
    """The file of that name, or the files of the folder of that name; none if there is no such thing."""
    if os.path.isdir(name):
        return sorted(os.path.join(top, file) for top, _, files in os.walk(name) for file in files)
    return [name] if os.path.isfile(name) else []


def stat_of(path: str) -> list:
    """Name, size and time of a file: cheap to get, and another file than before where one of them differs."""
    stat = os.stat(path)
    return [path, stat.st_size, stat.st_mtime_ns]

"""Dealing work to parallel jobs, and telling what it was made from."""

import os
from collections.abc import Iterable, Sequence

from espnet2_secap.errors import SecError


def part_of(items: Sequence[str], nj: int, job: int) -> list[str]:
    """Slice `job` (1 to `nj`) of `items`: contiguous, near-equal, empty where items are few."""
    if nj < 1 or not 1 <= job <= nj:
        raise SecError(f"--job {job} --nj {nj}: wants 1 <= job <= nj")
    return list(items[len(items) * (job - 1) // nj : len(items) * job // nj])


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

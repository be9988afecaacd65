"""What the outputs of a stage were made from, so that a later run sees whether they are still up to date.

FOLDER/logs/made_from.json of an output folder: size, time and a hash of each file that the stage read. It is written as
begun.json when the stage begins and renamed when that has ended well: a stage that was refused or killed leaves the
record of what is there. Files whose time has changed and whose content has not are no change: a copied
folder stays up to date.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from espnet2_secap.process.files import atomic_write, make_dir

RECORD, BEGUN = "logs/made_from.json", "logs/begun.json"
WHOLE = 2**26  # bytes; of a larger file, such as a model, this much at its begin and at its end is hashed


def begin(folder: str | Path, inputs: Iterable[str]) -> None:
    """Note what a stage is about to make `folder` from; inputs that are not there are left out.

    Raises:
        OSError, SecError: the folder cannot be written.
    """
    files = {path: [*_stat(path), digest(path)] for path in inputs if os.path.isfile(path)}
    make_dir((Path(folder) / BEGUN).parent)
    with atomic_write(Path(folder) / BEGUN) as stream:
        json.dump({"files": files}, stream, ensure_ascii=False, indent=1)


def end(folder: str | Path) -> None:
    """Note that the stage has ended well."""
    if (Path(folder) / BEGUN).is_file():
        os.replace(Path(folder) / BEGUN, Path(folder) / RECORD)


def has_ended(folder: str | Path) -> bool | None:
    """Whether the stage that made the folder has ended; None where that was not noted."""
    if (Path(folder) / BEGUN).is_file():
        return False
    return None if _read(Path(folder) / RECORD) is None else True


def changed(folder: str | Path, inputs: Iterable[str]) -> list[str] | None:
    """The inputs that differ from those that the folder was made from, new ones included; None if none were noted.

    A file of another path is no new one if a file of its name and content was noted: folders move, and a path may be
    relative or not.
    """
    files = _read(Path(folder) / RECORD)
    files = _read(Path(folder) / BEGUN) if files is None else files
    return None if files is None else [path for path in inputs if _differs(path, files)]


def _differs(path: str, noted: Mapping[str, list]) -> bool:
    if not os.path.isfile(path):
        return False  # what is not there is not newer: a corpus may be removed once its audio is formatted
    if path in noted:
        return _stat(path) != noted[path][:2] and digest(path) != noted[path][2]
    alike = {one[2] for name, one in noted.items() if os.path.basename(name) == os.path.basename(path)}
    return not alike or digest(path) not in alike


def newer(folder_files: Iterable[str], inputs: Iterable[str]) -> list[str]:
    """The inputs that are newer than the oldest of a folder's files, by their times alone."""
    times = [os.stat(path).st_mtime_ns for path in folder_files if os.path.isfile(path)]
    return [path for path in inputs if times and os.path.isfile(path) and os.stat(path).st_mtime_ns > min(times)]


def digest(path: str) -> str:
    """A hash of a file's content: of all of it, or, above 2 * WHOLE bytes, of its size, begin and end.

    A model file ends with the checksums of its tensors.
    """
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= 2 * WHOLE:
            found.update(file.read())
        else:
            found.update(b"%d" % size + file.read(WHOLE))
            file.seek(-WHOLE, os.SEEK_END)
            found.update(file.read())
    return found.hexdigest()


def _stat(path: str) -> list[int]:
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


def _read(record: Path) -> dict | None:
    try:
        files = json.loads(record.read_text(encoding="utf-8"))["files"]
        assert isinstance(files, dict) and all(len(noted) == 3 for noted in files.values())
        return files
    except (OSError, ValueError, TypeError, KeyError, AssertionError, RecursionError):
        return None  # by an earlier version, removed, or cut short

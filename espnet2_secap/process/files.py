"""Writing files that are complete or not there: through errors, a full disk and kill -9."""

import errno
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from espnet2_secap.errors import SecError
from espnet2_secap.process.processes import start_of

OS_HINTS = {
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another path",
    errno.EEXIST: "a file is in the place of the folder: choose another path",
    errno.EISDIR: "a folder is in the place of the file: choose another path",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EFBIG: "the limit for file sizes is reached: raise `ulimit -f`, then run the same command again",
    errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
    errno.EPERM: "not permitted here: choose another folder",
}


@contextmanager
def named_os_errors(path: str | Path) -> Iterator[None]:
    """Make an OSError of the block name `path`, or turn it into a SecError where we know what to do.

    Errors without a hint here (no space, no permission, ...) stay OSError, for `cli` to print.
    """
    try:
        yield
    except OSError as err:
        if err.errno in OS_HINTS:
            raise SecError(f"{path}: {err.strerror}; {OS_HINTS[err.errno]}") from err
        err.filename = str(path)
        raise


def make_dir(path: str | Path) -> Path:
    """Make a folder and its parents where they are missing, and return it."""
    with named_os_errors(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", sync: bool = True) -> Iterator[IO]:
    """Open a file beside `path` that takes its place when the block ends well, and is removed otherwise.

    Args:
        path: what to write. An earlier file of this name stays whole until the new one is complete.
        mode: "w" (text: UTF-8, newline "\\n") or "wb".
        sync: have it on the disk before it takes its place, and remove what processes that were killed left of
            it. Without, it is safe against a kill, not against a power cut, and takes no time in large folders.

    Raises:
        OSError, SecError: no space, no permission, no such folder, ...; the message names `path`.
    """
    assert mode in ("w", "wb"), mode
    part = f"{path}.tmp.{os.getpid()}"
    text = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
    if sync:
        _remove_left_over(Path(path))
    with named_os_errors(path):
        if os.path.lexists(part):  # of a killed process of the same number, or a link that leads elsewhere
            os.unlink(part)
        stream = open(part, mode.replace("w", "x"), **text)
    try:
        try:
            yield stream
            with named_os_errors(path):
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
        finally:
            with named_os_errors(path):
                stream.close()
        with named_os_errors(path):
            os.replace(part, path)
    except BaseException as err:
        if os.path.lexists(part):
            os.unlink(part)
        # torch.save raises a RuntimeError of its own while it handles a write's error.
        cause = err.__context__ if isinstance(err, RuntimeError) else err
        if isinstance(cause, OSError) and cause.errno and cause.filename is None:  # a write inside the block
            with named_os_errors(path):
                raise cause from None
        raise


def _remove_left_over(path: Path) -> None:
    for part in path.parent.glob(f"{glob.escape(path.name)}.tmp.*"):
        pid = part.name.rsplit(".", 1)[1]
        if pid.isdigit() and start_of(int(pid)) is None:
            part.unlink(missing_ok=True)

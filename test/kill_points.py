"""Killing a piece of work at each of its changes of files in turn."""

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


def content(folder: Path) -> dict[str, bytes]:
    """All files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def kill_at_every_change(folder: Path, work: Callable[[], None]) -> int:
    """See that `work`, which fills the empty `folder`, ends the same however it was killed before.

    It is run undisturbed, and then for each k in a process that is killed with -9 right before it changes a file or
    folder below `folder` (opens it for writing, renames, removes, makes one) for the k-th time, and in another one.

    Returns:
        number of kills.
    """
    work()
    expected, kills = content(folder), 0
    assert expected
    while True:
        shutil.rmtree(folder)
        folder.mkdir()
        status = _status(work, (str(folder), kills + 1))
        if status == 0:
            return kills
        assert status == signal.SIGKILL, f"kill {kills + 1}: status {status}"
        kills += 1
        assert _status(work) == 0, f"after kill {kills}"
        found = content(folder)
        assert found.keys() == expected.keys(), f"after kill {kills}"
        assert [name for name in found if found[name] != expected[name]] == [], f"after kill {kills}"


def _status(work: Callable[[], None], kill: tuple[str, int] | None = None) -> int:
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        if kill:
            _kill_at(*kill)
        work()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _kill_at(folder: str, count: int) -> None:
    left = count

    def hook(event, args):
        nonlocal left
        if event == "open":
            changes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in CHANGES
        if changes and isinstance(args[0], str | os.PathLike) and os.path.abspath(args[0]).startswith(folder):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)

"""The error class for user input, and how programs print it."""

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class SecError(ValueError):
    """Bad input. The message is one line: which file, id or option; what is wrong; what to do."""


def shorten(text: str, limit: int = 80) -> str:
    """Text for a message, on one line of at most `limit` characters."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def listed(names: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """Names for a message: the first ones, and how many more."""
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def few(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, for a message that says how many there are."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _what_to_do(err: OSError) -> str | None:
    """The message for a system error that the user can fix; None for any other."""
    hints = {
        errno.ENOSPC: "free some space or choose another folder, then run the same command again",
        errno.EDQUOT: "free some space or choose another folder, then run the same command again",
        errno.EFBIG: "raise `ulimit -f`, then run the same command again",
        errno.EACCES: "make it readable and writable for this user, or choose another folder",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOENT: "check the path",
        errno.ENAMETOOLONG: "check the path",
        errno.EISDIR: "give the path of a file",
        errno.EBUSY: "give the path of a file",
        errno.ENOTDIR: "check the path: a file stands where a folder should be",
    }
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if err.errno not in hints or (err.errno not in full and err.filename is None):
        return None
    return f"{shorten(str(err.filename or 'output'), 500)}: {err.strerror}; {hints[err.errno]}"


def cli(main: Callable, program: str | None = None) -> Callable:
    """Make a program's `main` report bad input in one line and exit with status 1.

    The line begins with the program's name: that of `main`'s module, if none is given.

    Other exceptions are bugs of ours and keep their traceback.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs):
        own = Path(sys.argv[0]).stem if main.__module__ == "__main__" else main.__module__.rsplit(".", 1)[-1]
        try:
            return main(*args, **kwargs)
        except SecError as err:
            message = str(err)
        except OSError as err:
            message = _what_to_do(err)
            if message is None:
                raise
        except Exception as err:
            # safetensors and tokenizers (written in Rust) report system errors in this form
            number = re.search(r"\(os error (\d+)\)", str(err))
            message = _what_to_do(OSError(int(number[1]), os.strerror(int(number[1])))) if number else None
            if message is None:
                raise
        message = "".join(char if char.isprintable() else "?" for char in message)  # a file name may contain anything
        print(f"{program or own}: error: {message}", file=sys.stderr)
        sys.exit(1)

    return wrapped

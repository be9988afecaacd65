"""Progress of long loops: a bar on a terminal, plain lines with rate and time left in a log."""

import sys
import time
from collections.abc import Iterable, Iterator


def progress(iterable: Iterable, total: int | None = None, desc: str = "", every: float = 10.0) -> Iterator:
    """Yield the items of `iterable` and print the progress on stderr.

    Args:
        iterable: the items.
        total: number of items, if `len(iterable)` does not give it.
        desc: a few words on what is being done.
        every: seconds between two lines if stderr is not a terminal.
    """
    if total is None:
        total = len(iterable) if hasattr(iterable, "__len__") else None
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(iterable, total=total, desc=desc, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= every:
            last = now
            print(_line(desc, done, total, now - start), file=sys.stderr, flush=True)
    print(_line(desc, done, total, time.monotonic() - start), file=sys.stderr, flush=True)


def _line(desc: str, done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {(total - done) / rate:.0f} s left" if total and rate and done < total else ""
    return f"{desc}: {done}{f'/{total}' if total else ''} in {seconds:.1f} s ({rate:.1f}/s{left})"

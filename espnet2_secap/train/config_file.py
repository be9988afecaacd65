"""Writes config.yaml atomically, like all other files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet2.tasks import abs_task

from espnet2_secap.data.io import atomic_write


class _Path(type(Path())):
    """A path whose config.yaml is complete at any time."""

    def open(self, mode: str = "r", *args, **options):
        if self.name == "config.yaml" and mode == "w":
            return atomic_write(self)
        return super().open(mode, *args, **options)


@contextmanager
def written_whole() -> Iterator[None]:
    """Within it, ESPnet's task writes config.yaml atomically instead of truncating the earlier file first."""
    plain = abs_task.Path
    abs_task.Path = _Path
    try:
        yield
    finally:
        abs_task.Path = plain

"""Writes config.yaml atomically, like all other files."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from espnet2.tasks import abs_task

from espnet2_secap.data.conf import dump_yaml
from espnet2_secap.data.io import atomic_write


@contextmanager
def config_written_by(change: Callable[[dict, Path], dict]) -> Iterator[None]:
    """Within it, ESPnet's task writes a changed config.yaml, whole at any moment; by itself it empties the earlier one
    before it writes.

    Args:
        change: configuration and folder -> what is written.
    """

    class _Path(type(Path())):
        def open(self, mode: str = "r", *args, **options):
            if self.name == "config.yaml" and mode == "w":
                return _written(self, change)
            return super().open(mode, *args, **options)

    plain = abs_task.Path
    abs_task.Path = _Path
    try:
        yield
    finally:
        abs_task.Path = plain


@contextmanager
def _written(path: Path, change: Callable[[dict, Path], dict]) -> Iterator[io.StringIO]:
    text = io.StringIO()
    yield text
    conf = change(yaml.safe_load(text.getvalue()), path.parent)  # ESPnet's
    with atomic_write(path) as file:
        dump_yaml(conf, file)

"""Reads torch files without running code from them, even in libraries that would."""

import argparse
import contextlib
import datetime
import os
import re
from collections.abc import Iterator

import torch

from espnet2_secap.errors import SecError

_OBJECT = re.compile(r"GLOBAL:? ([\w.]+)|class ([\w.]+)")  # in messages of torch
_trusted = False


class UnsafeFile(SecError):
    """A file with Python objects; loading it can run code."""


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Within it, torch.load accepts only tensors, numbers and strings, whatever its caller requests.

    ESPnet's --init_param and some of S3PRL's upstreams use weights_only=False, with which a file can run any code.

    Raises:
        SecError: within it, from torch.load: the file has other content or is truncated.
    """
    plain, plain_hub = torch.load, torch.hub.load

    def load(f, *args, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if key != "pickle_module"} | {"weights_only": True}
        try:
            with torch.serialization.safe_globals(HARMLESS):
                return plain(f, *args[:1], **kwargs)  # a third positional argument would be pickle_module
        except OSError:
            raise
        except Exception as err:  # a corrupt file can raise almost any
            name = f if isinstance(f, (str, os.PathLike)) else getattr(f, "name", "a checkpoint")
            raise (UnsafeFile if _OBJECT.search(str(err)) else SecError)(f"{name}: {reason(err)}") from err

    def load_hub(repo, *args, **kwargs):
        raise UnsafeFile(f"{repo}: is code for torch.hub, which is not run; give the folder of a model instead")

    if _trusted:
        yield
        return
    torch.load, torch.hub.load = load, load_hub
    try:
        yield
    finally:
        torch.load, torch.hub.load = plain, plain_hub


@contextlib.contextmanager
def pickles_allowed(allowed: bool) -> Iterator[None]:
    """Within it, `tensors_only` has no effect if `allowed`: for an option that the user gives explicitly."""
    global _trusted
    before, _trusted = _trusted, _trusted or allowed
    try:
        yield
    finally:
        _trusted = before


def reason(err: Exception) -> str:
    """Why torch.load refused a file; torch's own message is long and suggests running the file's code."""
    found = _OBJECT.search(str(err))
    if found:
        name = found[1] or found[2]
        return f"holds Python objects ({name}) besides tensors; such a file can run code and is not loaded"
    first = (str(err).splitlines() or [type(err).__name__])[0].split(". In PyTorch")[0]
    return f"not a file of tensors, or cut short ({first[:200]})"


def _harmless() -> list:
    """Types of plain values in our checkpoint.pth and in S3PRL's checkpoints that torch does not allow by itself."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    types = {type(np.dtype(name)) for name in ("float64", "float32", "int64", "bool")}
    return [datetime.timedelta, argparse.Namespace, scalar, np.dtype, *types]


HARMLESS = _harmless()

"""Losses are computed in float32, whatever mixed precision makes of what they are given."""

import functools
from collections.abc import Callable

import torch


def single(values: torch.Tensor) -> torch.Tensor:
    """Half-precision values in float32; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def in_float32(loss: Callable) -> Callable:
    """Make a loss take half-precision tensors in float32, and run outside of autocast."""

    @functools.wraps(loss)
    def wrapped(*args, **kwargs):
        args = [single(value) if isinstance(value, torch.Tensor) else value for value in args]
        kwargs = {key: single(value) if isinstance(value, torch.Tensor) else value for key, value in kwargs.items()}
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return loss(*args, **kwargs)

    return wrapped

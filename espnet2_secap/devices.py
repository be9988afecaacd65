"""What this machine can compute on: devices, said to be usable before anything is loaded for them, and CPU cores."""

import os

from espnet2_secap.errors import SecError


def check_device(device: str) -> None:
    """Say in one line that a device (cpu, cuda, cuda:N) cannot be used.

    Raises:
        SecError: there is none, or PyTorch knows no such device.
    """
    if device == "cpu":
        return
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SecError(f"--device {device}: no CUDA device here; use cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as err:
        said = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise SecError(f"--device {device}: cannot be used here ({said[:200]}); use --device cpu") from err


def cpu_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The complete state of a training between two steps, in a file that a crash cannot corrupt: checkpoint.pth."""

import logging
import os
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from espnet2.train.reporter import Average, Reporter, SubReporter, WeightedAverage

from espnet2_secap.data.io import atomic_write
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import read_tensors
from espnet2_secap.safe_load import HARMLESS

NAME, PREVIOUS = "checkpoint.pth", "checkpoint.prev.pth"


class TrainingState:
    """Model, optimizers, schedulers, scaler and reporter of a training; saved after an epoch or within one.

    Args:
        model: without DistributedDataParallel around it; its state_dict has trained tensors only.
        optimizers, schedulers: of ESPnet's task; a scheduler may be None.
        scaler: of mixed precision, or None.
        reporter: has the statistics of the finished epochs.
    """

    def __init__(self, model: torch.nn.Module, optimizers, schedulers, scaler, reporter: Reporter):
        self.model = model
        self.optimizers = optimizers
        self.schedulers = schedulers
        self.scaler = scaler
        self.reporter = reporter

    def save(self, folder: Path, steps: dict | None = None) -> None:
        """Write folder/checkpoint.pth; the existing one becomes checkpoint.prev.pth.

        Args:
            folder: of the experiment.
            steps: of an unfinished epoch, by `pack_steps`.
        """
        reporter = self.reporter.state_dict()
        if steps is not None:  # for the reporter the epoch has not begun
            ended = {epoch: stats for epoch, stats in reporter["stats"].items() if epoch < steps["epoch"]}
            reporter = {"epoch": steps["epoch"] - 1, "stats": ended}
        states = {
            "model": self.model.state_dict(),
            "reporter": reporter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler and scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler and self.scaler.state_dict(),
            "steps": steps,
        }
        save_tensors(folder / NAME, states, keep=folder / PREVIOUS)

    def load(self, folder: Path) -> dict | None:
        """Resume from folder/checkpoint.pth, or from the previous one if that is corrupt.

        Returns:
            `steps` as given to `save`.

        Raises:
            SecError: both are corrupt, or they do not fit the model.
        """
        path, states = read_newest(folder)
        try:
            self.model.load_state_dict(states["model"])
            for optimizer, state in zip(self.optimizers, states["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            self.reporter.load_state_dict(states["reporter"])
            for scheduler, state in zip(self.schedulers, states["schedulers"], strict=True):
                if scheduler is not None:
                    scheduler.load_state_dict(state)
            if self.scaler is not None and states["scaler"] is not None:
                self.scaler.load_state_dict(states["scaler"])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as err:
            raise SecError(
                f"{path}: cannot resume from it ({' '.join(str(err).split())[:300]}); if the configuration was"
                " changed, train with another --sec_tag, or remove the folder to start again"
            ) from err
        return states.get("steps")


def save_tensors(path: Path, content: object, keep: Path | None = None) -> None:
    """`torch.save` to a temporary file, sync, and rename it to `path`; the old file is kept as `keep`.

    Raises:
        OSError, SecError: no space or no permission; `path` is unchanged.
    """
    with atomic_write(path, "wb") as file:
        torch.save(content, file)
        if keep is not None and path.exists():
            beside = keep.with_name(
                f"{keep.name}.tmp"
            )  # a fixed name: what a kill leaves behind is replaced the next time
            beside.unlink(missing_ok=True)
            try:
                os.link(path, beside)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, beside)
            os.replace(beside, keep)


def read_newest(folder: Path) -> tuple[Path, dict]:
    """The newest checkpoint of a folder that is not corrupt, and its path; runs no code from the file.

    Raises:
        SecError: there is none.
    """
    problems = []
    for path in (folder / NAME, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            states = _read_whole(path)
        except SecError as err:
            problems.append(str(err))
            logging.warning(f"{err}; trying the previous checkpoint")
            continue
        if problems:
            logging.warning(f"resuming from {path.name} instead")
        return path, states
    raise SecError(
        f"{'; '.join(problems) or f'{folder / NAME}: no such file'}: there is no checkpoint to resume from;"
        " remove the folder to train from the start"
    )


def _read_whole(path: Path) -> dict:
    try:
        with zipfile.ZipFile(path) as archive:
            corrupt = archive.testzip()  # torch.load does not check the checksums
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as err:
        raise SecError(f"{path}: is cut short or not a checkpoint ({err})") from err
    if corrupt:
        raise SecError(f"{path}: is corrupt (checksum of {corrupt})")
    with torch.serialization.safe_globals(HARMLESS):
        states = read_tensors(path, "checkpoint")
    if not isinstance(states, dict):
        raise SecError(f"{path}: is not the checkpoint of a training")
    return states


def pack_steps(done: int, sub: SubReporter, random_states: list[dict]) -> dict:
    """The progress within the epoch of `sub`, as plain numbers and tensors.

    Args:
        done: number of finished steps (batches).
        sub: ESPnet's statistics of these steps.
        random_states: one per process, by `get_random_state`.
    """
    stats = {
        key: torch.tensor([(v.value, getattr(v, "weight", 0.0)) for v in values], dtype=torch.float64)
        for key, values in sub.stats.items()
    }
    weighted = [key for key, values in sub.stats.items() if isinstance(values[0], WeightedAverage)]
    return {"epoch": sub.epoch, "done": done, "stats": stats, "weighted": weighted, "random": random_states}


def unpack_stats(steps: dict, sub: SubReporter) -> None:
    """Restore the statistics of `pack_steps` in the reporter of the resumed epoch."""
    for key, pairs in steps["stats"].items():
        for value, weight in pairs.tolist():
            sub.stats[key].append(WeightedAverage(value, weight) if key in steps["weighted"] else Average(value))
    sub.count += steps["done"]
    sub.total_count += steps["done"]


def place(reporter: Reporter, steps: dict | None) -> str:
    """The position of a training, for the log."""
    return f"epoch {steps['epoch']}, step {steps['done']}" if steps else f"end of epoch {reporter.get_epoch()}"


def get_random_state() -> dict:
    """The states of all random number generators of this process."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_random_state(state: dict) -> None:
    """Restore the states of `get_random_state`."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))

"""What the two programs that make mini pretrained parts have in common."""

import dataclasses
import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import yaml

from espnet2_secap.errors import SecError

RECORD = "pretrain.json"  # in a finished folder: what it was made from


def read_config(path: Path | None, section: str, defaults):
    """Read one section of a YAML file over the fields of a dataclass.

    Raises:
        SecError: no such file, not YAML, or a key that `defaults` does not have.
    """
    if path is None:
        return defaults
    try:
        values = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(section) or {}
    except (OSError, yaml.YAMLError, AttributeError) as err:
        reason = str(err).splitlines()[0]
        raise SecError(f"{path}: cannot be read as YAML ({reason}); see conf/pretrain.yaml") from err
    known = [field.name for field in dataclasses.fields(defaults)]
    for key in values:
        if key not in known:
            raise SecError(f"{path}: {section}: unknown key {key!r}; known are {', '.join(known)}")
    return dataclasses.replace(defaults, **values)


def record_of(config, sources: Iterable[str | bytes]) -> dict:
    """What a part is made from: its configuration, and a checksum over all that it learns from and these programs."""
    checksum = hashlib.sha256()
    programs = [program.read_bytes() for program in sorted(Path(__file__).resolve().parent.glob("pretrain_*.py"))]
    for source in (*programs, *sources):
        checksum.update(source.encode() if isinstance(source, str) else source)
    record = {"config": dataclasses.asdict(config), "sources": checksum.hexdigest()}
    return json.loads(json.dumps(record))  # as it will be read back


def is_made(folder: Path, record: dict) -> bool:
    """Whether `folder` holds a complete part made from just this."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8")) == record
    except (OSError, ValueError):
        return False


def begin_folder(folder: Path) -> Path:
    """An empty folder beside `folder`, to be filled and then handed to `finish_folder`."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    return beside


def finish_folder(beside: Path, folder: Path, record: dict) -> None:
    """Note what the part was made from and put it in its place; an earlier one goes only now."""
    (beside / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(beside, folder)
        if old.is_symlink():
            old.unlink()
        else:
            shutil.rmtree(old)
    else:
        os.replace(beside, folder)


def start(seed: int, threads: int) -> random.Random:
    """Make torch give the same numbers each time; return a generator for everything else."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    torch.set_num_threads(threads)
    return random.Random(seed)


class Optimizer:
    """AdamW with a linear warm-up over a tenth of the steps, cosine decay to zero and gradients clipped to norm 1."""

    def __init__(self, model: torch.nn.Module, lr: float, steps: int, weight_decay: float = 0.01):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.adam = torch.optim.AdamW(self.parameters, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
        warmup = max(1, steps // 10)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.adam,
            lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, steps)))),
        )

    def step(self, loss: torch.Tensor) -> None:
        """One update."""
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.schedule.step()


def count(model: torch.nn.Module) -> str:
    """Number of parameters in words."""
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters"

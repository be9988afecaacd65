"""The model files of an experiment: those of the best epochs, links to them, and their average."""

import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from espnet2.train.reporter import Reporter

from espnet2_secap.model.checkpoint import load_state
from espnet2_secap.train.state import save_tensors

Criteria = Sequence[Sequence[str]]  # (split, key, "min" or "max"), as ESPnet's --best_model_criterion


def link(path: Path, target: str) -> None:
    """Make `path` a link to `target` in the same folder, replacing an existing file atomically."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    os.replace(beside, path)


def ranked(reporter: Reporter, split: str, key: str, mode: str) -> list[int]:
    """The finished epochs from the best to the worst; an epoch whose value is not finite is none of them."""
    values = {epoch: stats.get(split, {}).get(key, math.nan) for epoch, stats in reporter.stats.items()}
    finite = [epoch for epoch, value in values.items() if math.isfinite(value)]
    return sorted(finite, key=lambda epoch: values[epoch] if mode == "min" else -values[epoch])


def update_links(folder: Path, reporter: Reporter, criteria: Criteria, keep: int) -> list[str]:
    """Point latest.pth and <split>.<key>.best.pth at the right epochs, and remove the files that are no longer needed.

    May be repeated at any time: it depends only on the reporter and on the files.

    Args:
        folder: of the experiment, with <epoch>epoch.pth.
        reporter: of the finished epochs.
        criteria: the definitions of best.
        keep: number of best epochs to keep for each criterion.

    Returns:
        the criteria, as "valid.loss", for which the last epoch is the best, as none is whose value is not finite.
    """
    last = reporter.get_epoch()
    needed, improved = {last}, []
    if (folder / f"{last}epoch.pth").exists():
        link(folder / "latest.pth", f"{last}epoch.pth")
    for split, key, mode in criteria:
        epochs, path = ranked(reporter, split, key, mode), folder / f"{split}.{key}.best.pth"
        if not epochs:
            path.unlink(missing_ok=True)  # an earlier version linked an epoch that is not finite
            continue
        needed.update(epochs[:keep])
        if (folder / f"{epochs[0]}epoch.pth").exists():
            link(path, f"{epochs[0]}epoch.pth")
        if epochs[0] == last:
            improved.append(f"{split}.{key}")
    for path in folder.glob("*epoch.pth"):
        number = re.fullmatch(r"(\d+)epoch\.pth", path.name)
        if number and int(number[1]) not in needed:
            path.unlink()
    return improved


def write_untrained(folder: Path, model: torch.nn.Module, criteria: Criteria) -> None:
    """The model files that a training leaves, of a model that none can change: all are one."""
    save_tensors(folder / "0epoch.pth", model.state_dict())
    names = [f"{split}.{key}.{kind}" for split, key, _ in criteria for kind in ("best", "ave")]
    for name in ["latest", *names]:
        link(folder / f"{name}.pth", "0epoch.pth")


def average(folder: Path, reporter: Reporter, criteria: Criteria, counts: Sequence[int], suffix: str = "") -> None:
    """Write <split>.<key>.ave_<N>best.pth, the mean of the N best epochs, and link ...ave.pth to that of the largest N.

    Names and values are those of ESPnet's average_nbest_models; the files are read without running code from them.

    Args:
        folder, reporter, criteria: as in `update_links`.
        counts: the values of N; those above the number of epochs are ignored.
        suffix: of the names, such as "till10epoch."
    """
    for split, key, mode in criteria:
        best = ranked(reporter, split, key, mode)
        epochs = [epoch for epoch in best if (folder / f"{epoch}epoch.pth").exists()]
        if not epochs:
            continue
        if epochs[: max(counts)] != best[: max(counts)]:  # --keep_nbest_models was raised on the way
            logging.warning(
                f"{split}.{key}: of the {max(counts)} best epochs some were not kept; the average is of others"
            )
        name = f"{split}.{key}.ave"
        possible = [n for n in counts if 0 < n <= len(epochs)] or [1]
        for n in possible:
            path = folder / f"{name}_{n}best.{suffix}pth"
            if n == 1:
                link(path, f"{epochs[0]}epoch.pth")
            else:
                save_tensors(path, mean_of([folder / f"{epoch}epoch.pth" for epoch in epochs[:n]]))
        link(folder / f"{name}.{suffix}pth", f"{name}_{max(possible)}best.{suffix}pth")


def mean_of(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the tensors in model files; integers (counters) are summed, as in ESPnet."""
    total = load_state(paths[0])
    for path in paths[1:]:
        state = load_state(path)
        total = {key: value + state[key] for key, value in total.items()}
    return {key: value if _is_whole(value) else value / len(paths) for key, value in total.items()}


def _is_whole(value: torch.Tensor) -> bool:
    return not (value.is_floating_point() or value.is_complex())

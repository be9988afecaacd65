"""Sums over all stored frames of a set, from which ESPnet's global_mvn computes mean and variance (stage 4)."""

from pathlib import Path

import numpy as np

from espnet2_secap.data.io import atomic_write, make_dir
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.progress import progress


def write_feats_stats(source_dir: str | Path, output: str | Path) -> int:
    """Write `count` (frames), `sum` and `sum_square` (L * D,) of a set's features, as ESPnet's stage 4 names them.

    Args:
        source_dir: dump/<tag>/<set> with feats.scp (stage 3).
        output: the .npz file; its folder is made.

    Returns:
        number of frames.

    Raises:
        SecError: the folder holds audio, or features cannot be read.
    """
    utterances = Utterances(source_dir)
    if utterances.raw:
        raise SecError(
            f"{source_dir}: holds audio, statistics are of stored features; give the folder that stage 3 wrote"
        )
    count, total, squares = 0, 0.0, 0.0
    for utt in progress(utterances.ids, desc=f"statistics of {source_dir}"):
        feats = utterances.read(utt).astype(np.float64)
        count += len(feats)
        total = total + feats.sum(0)
        squares = squares + np.square(feats).sum(0)
    make_dir(Path(output).parent)
    with atomic_write(output, "wb") as file:
        np.savez(file, count=count, sum=total, sum_square=squares)
    return count

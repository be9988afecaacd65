"""Utterances of a folder of features or audio, in batches of similar length."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.scp import read_matrix
from espnet2_secap.errors import SecError


def scp_of(data_dir: str | Path) -> Path:
    """feats.scp of a folder of dumped features, else its wav.scp."""
    for name in ("feats.scp", "wav.scp"):
        if (Path(data_dir) / name).is_file():
            return Path(data_dir) / name
    raise SecError(f"{data_dir}: neither feats.scp (stage 3) nor wav.scp (stage 2); run these stages first")


class Utterances:
    """Reads features (feats.scp) or 16 kHz audio (wav.scp) by id.

    Args:
        data_dir: dump/<upstream>/<set> or dump/raw/<set>.
    """

    def __init__(self, data_dir: str | Path):
        scp = scp_of(data_dir)
        self.raw = scp.name == "wav.scp"
        self.paths = read_kaldi(scp)
        lengths = scp.parent / ("utt2num_samples" if self.raw else "utt2num_frames")
        self.lengths = {utt: int(length) for utt, length in read_kaldi(lengths).items()}
        self.ids = sorted(self.paths)

    def read(self, utt: str) -> np.ndarray:
        """(samples,) or (T, D), float32."""
        try:
            if self.raw:
                return soundfile.read(self.paths[utt], dtype="float32")[0]
            return read_matrix(self.paths[utt])
        except (OSError, RuntimeError, ValueError) as err:
            stage = 2 if self.raw else 3
            said = f" ({err})" if isinstance(err, SecError) else ""
            raise SecError(f"{utt}: {self.paths[utt]} cannot be read{said}; run stage {stage} again") from err

    def batches(self, ids: list[str], batch_size: int) -> Iterator[list[str]]:
        """The ids, sorted by length, `batch_size` at a time."""
        order = sorted(ids, key=lambda utt: (self.lengths[utt], utt))
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

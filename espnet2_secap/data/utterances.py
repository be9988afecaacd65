"""The one reader of dumped audio and features: utterances of dump/raw/<set> or dump/<upstream>/<set>."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from espnet2_secap.data.audio import BadAudio, read_header, read_samples
from espnet2_secap.data.io import read_kaldi, read_lengths
from espnet2_secap.data.scp import read_matrix
from espnet2_secap.errors import SecError, shorten

FS = 16000  # Hz, of dumped audio unless another rate is given
AUDIO = ("wav.scp", "utt2num_samples", 2)  # of stage 2
FEATS = ("feats.scp", "utt2num_frames", 3)  # of stage 3


def scp_of(data_dir: str | Path) -> Path:
    """feats.scp of a folder of dumped features, else its wav.scp."""
    for name, _, _ in (FEATS, AUDIO):
        if (Path(data_dir) / name).is_file():
            return Path(data_dir) / name
    raise SecError(f"{data_dir}: neither feats.scp (stage 3) nor wav.scp (stage 2) is there; run these stages first")


class Utterances:
    """Reads features (feats.scp) or mono audio (wav.scp) by id.

    Args:
        data_dir: dump/<upstream>/<set> or dump/raw/<set>.
        fs: expected sampling rate of audio, in Hz; see also `resample_to`.
        raw: read audio (True) or features (False); by default what the folder has, features first.

    Attributes:
        raw: whether it is audio.
        paths: id -> its entry of the scp file.
        lengths: id -> samples or frames.
        ids: sorted.

    Raises:
        SecError: a file is missing, empty or broken, or its ids are not those of the other.
    """

    def __init__(self, data_dir: str | Path, fs: int = FS, raw: bool | None = None):
        self.fs, self.resamples = fs, False
        self.raw = scp_of(data_dir).name == AUDIO[0] if raw is None else raw
        scp, lengths, self.stage = AUDIO if self.raw else FEATS
        files = scp, lengths = Path(data_dir) / scp, Path(data_dir) / lengths
        for path in files:
            if not path.is_file():
                raise SecError(f"{path}: does not exist; run stage {self.stage} first, it makes this file")
        self.paths, self.lengths = read_kaldi(scp), read_lengths(lengths)
        for utt in sorted(self.paths.keys() ^ self.lengths.keys()):
            without, other = (lengths, scp) if utt in self.paths else (scp, lengths)
            raise SecError(f"{without}: {shorten(utt)}: is missing, {other.name} has it; run stage {self.stage} again")
        self.ids = sorted(self.paths)

    def resample_to(self, fs: int) -> None:
        """Read audio of whatever sampling rate at `fs` Hz from now on."""
        self.fs, self.resamples = fs, True

    def stored_rate(self) -> int:
        """Sampling rate of the stored audio in Hz, by the header of its first recording."""
        try:
            return read_header(self.paths[self.ids[0]]).rate
        except BadAudio:
            return self.fs  # `read` says what is wrong with it

    def read(self, utt: str) -> np.ndarray:
        """Samples (S,) or features (T, D), float32.

        Raises:
            SecError: file, id and what keeps it from being read: no such file or permission, broken, of another
                length than expected; of audio also more than one channel, another sampling rate.
        """
        try:
            return self._audio(utt) if self.raw else self._feats(utt)
        except (SecError, OSError) as err:
            what = f"cannot be read ({err.strerror})" if isinstance(err, OSError) else str(err)
            where = f"{shorten(self.paths[utt], 500)}: {shorten(utt)}"
            raise SecError(f"{where}: {what}; run stage {self.stage} again") from err

    def _audio(self, utt: str) -> np.ndarray:
        path, expected = self.paths[utt], self.lengths[utt]
        try:
            samples, rate = read_samples(path)
        except BadAudio as err:
            os.stat(path)  # says what is wrong where it is the path
            if not os.access(path, os.R_OK):
                raise PermissionError(13, "Permission denied") from err
            raise SecError("cannot be read as audio") from err
        if samples.shape != (expected, 1) or (rate != self.fs and not self.resamples):
            there = f"{len(samples)} samples of {samples.shape[1]} channel(s) at {rate} Hz"
            raise SecError(f"has {there}, expected {expected} of 1 at {self.fs} Hz (--fs of stage 2)")
        return samples[:, 0] if rate == self.fs else soxr.resample(samples[:, 0], rate, self.fs)

    def _feats(self, utt: str) -> np.ndarray:
        feats = read_matrix(self.paths[utt])
        if len(feats) != self.lengths[utt]:
            raise SecError(f"has {len(feats)} frames, expected {self.lengths[utt]}")
        return feats

    def batches(self, ids: list[str], batch_size: int) -> Iterator[list[str]]:
        """The ids, sorted by length, `batch_size` at a time."""
        order = sorted(ids, key=lambda utt: (self.lengths[utt], utt))
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

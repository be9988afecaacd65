"""Recordings of the captioned utterances, for the audio players of the HTML report."""

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.devices import cpu_cores
from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import Score

RATE = 16000  # Hz
BATCH = 64  # recordings that are encoded before the limit is looked at again
QUALITY = 0.8  # libsndfile's compression level for MP3 with variable bit rate: about 26 kbit/s for speech


def find_audio(score: Score) -> tuple[dict[str, Path], list[str]]:
    """Recordings that the page may hold, by the wav.scp beside the references.

    The page is made to be shared, and a wav.scp can name any file of this machine: only files below the folder of
    the wav.scp (dump/raw/<set>) are taken, wherever links lead.

    Returns:
        id -> recording; ids whose recording lies elsewhere. Ids without a file are in neither.
    """
    if "ref" not in score.meta:
        return {}, []
    scp = Path(score.meta["ref"]).with_name("wav.scp")
    try:
        files = {utt: Path(path) for utt, path in read_kaldi(scp).items() if _is_file(path)}
    except (SecError, OSError):
        return {}, []
    folder = scp.parent.resolve()
    inside = {utt: path for utt, path in files.items() if path.resolve().is_relative_to(folder)}
    return inside, sorted(files.keys() - inside.keys())


class Players:
    """Addresses of recordings for a page: embedded recordings until `limit` is reached, then links.

    Args:
        page: the HTML file; links are relative to its folder.
        limit: MB of embedded recordings, at most.
    """

    def __init__(self, page: Path, limit: float):
        self.page = page
        self.left = limit * 1e6
        self.embedded = self.linked = 0
        self.outside: dict[tuple[str, str], None] = {}  # set and id of recordings that may not be in the page

    def addresses(self, paths: list[Path]) -> list[str]:
        """A data: address or a relative link for each. Encoding takes most of a report's time: one thread per core."""
        found = []
        with ThreadPoolExecutor(cpu_cores()) as pool:
            for start in range(0, len(paths), BATCH):
                batch = paths[start : start + BATCH]
                contents = pool.map(_mp3, batch) if self.left > 0 else [None] * len(batch)
                found += map(self._address, batch, contents)
        return found

    def _address(self, path: Path, content: str | None) -> str:
        if content and len(content) <= self.left:
            self.left -= len(content)
            self.embedded += 1
            return content
        if content:
            self.left = 0
        self.linked += 1
        return quote(Path(os.path.relpath(path, self.page.parent)).as_posix())


def data_address(samples: np.ndarray, rate: int, form: str = "MP3") -> str:
    """Samples (samples,) at `rate` Hz as a data: address.

    Args:
        samples: int16, or float within 1.
        rate: in Hz.
        form: MP3 (variable bit rate, see QUALITY) or FLAC (lossless).

    Raises:
        soundfile.SoundFileError, TypeError: libsndfile before 1.1 cannot write MP3.
    """
    import soundfile

    how = dict(bitrate_mode="VARIABLE", compression_level=QUALITY) if form == "MP3" else {}
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format=form, **how)
    kind = {"MP3": "mpeg", "FLAC": "flac"}[form]
    return f"data:audio/{kind};base64," + base64.b64encode(memory.getvalue()).decode()


def _mp3(path: Path) -> str | None:
    """The recording as a data: address, or None if it cannot be read or MP3 cannot be written."""
    import soundfile

    from espnet2_secap.data.audio import read_audio

    try:
        return data_address(read_audio(path, RATE), RATE)
    except (SecError, OSError, ValueError, TypeError, soundfile.SoundFileError):
        return None


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a Kaldi command that is too long for a path
        return False

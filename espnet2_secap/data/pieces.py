"""Audio of utterances that are parts of recordings (data/segments.py)."""

import numpy as np

from espnet2_secap.data.audio import BadAudio, read_audio
from espnet2_secap.data.pipe import run_command
from espnet2_secap.data.recordings import check_recording, read_recording
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.segments import TO_THE_END, Segment

OVERSHOOT = 0.5  # seconds that an end may lie beyond its recording's, as in Kaldi's extract-segments


def cut(samples: np.ndarray, rate: int, segment: Segment) -> np.ndarray:
    """The samples (n,) of a segment of a recording (N,) at `rate` Hz.

    An end that lies beyond the recording's by up to 0.5 s is moved there.

    Raises:
        BadAudio: it starts where the recording has ended, or ends more than 0.5 s later; it has no samples.
    """
    seconds = len(samples) / rate
    end = seconds if segment.end == TO_THE_END else segment.end
    where = f"its segment {segment.start:g} to {segment.end:g} s"
    if segment.start >= seconds:
        raise BadAudio(f"starts after the recording's end; {where}, the recording has {seconds:.2f} s; fix segments")
    if end > seconds + OVERSHOOT:
        raise BadAudio(f"ends after the recording's end; {where}, the recording has {seconds:.2f} s; fix segments")
    part = samples[round(segment.start * rate) : round(end * rate)]
    if not len(part):
        raise BadAudio(f"has no samples; {where}; fix segments")
    return part


class Recordings:
    """Whole recordings as mono PCM; the last one is kept, since its segments mostly follow each other.

    Args:
        fs: sampling rate in Hz.
        pipe_seconds: time limit of a command.
    """

    def __init__(self, fs: int, pipe_seconds: float):
        self.fs, self.pipe_seconds = fs, pipe_seconds
        self.source: str | None = None
        self.samples: np.ndarray | BadAudio | None = None

    def notes(self, source: str) -> list[str]:
        """What becomes of a path or a command, for the log.

        Raises:
            BadAudio: why it cannot be used, as far as its header tells.
        """
        if is_command(source):
            return ["made by commands"]
        header = check_recording(source)
        return header.notes(self.fs) if header else []

    def read(self, source: str) -> np.ndarray:
        """Samples (N,) int16 of a path or a command.

        Raises:
            BadAudio: why it cannot be used.
        """
        if self.source != source:
            self.source, self.samples = source, None  # not two of them in memory
            try:
                self.samples = self._read(source)
            except BadAudio as err:
                self.samples = err
        if isinstance(self.samples, BadAudio):
            raise self.samples
        return self.samples

    def _read(self, source: str) -> np.ndarray:
        if is_command(source):
            return read_audio(run_command(source, self.pipe_seconds), self.fs)
        return read_recording(source, self.fs)

"""Audio of utterances that are parts of recordings (data/segments.py)."""

import numpy as np

from espnet2_secap.data.audio import BadAudio, Decoded, decode
from espnet2_secap.data.pipe import run_command
from espnet2_secap.data.recordings import check_recording, decode_recording
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.segments import TO_THE_END, Segment

PIPED = "made by commands"  # a note
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
        self.decoded: Decoded | BadAudio | None = None
        self.noted: tuple[str, list[str]] = ("", [])

    def notes(self, source: str) -> list[str]:
        """What becomes of a path or a command, for the log.

        Raises:
            BadAudio: why it cannot be used, as far as its header tells.
        """
        if is_command(source):
            return [PIPED]
        if self.noted[0] != source:  # to count the frames of an MP3 takes a while
            header = check_recording(source)
            self.noted = source, header.notes(self.fs) if header else []
        return self.noted[1]

    def read(self, source: str) -> Decoded:
        """Samples (N,) int16 of a path or a command, and notes on decoding.

        Raises:
            BadAudio: why it cannot be used.
        """
        if self.source != source:
            self.source, self.decoded = source, None  # not two of them in memory
            try:
                self.decoded = self._read(source)
            except BadAudio as err:
                self.decoded = err
        if isinstance(self.decoded, BadAudio):
            raise self.decoded
        return self.decoded

    def _read(self, source: str) -> Decoded:
        if is_command(source):
            return decode(run_command(source, self.pipe_seconds), self.fs)
        return decode_recording(source, self.fs)

"""Reading recordings that may be broken, and writing them as mono audio of one sampling rate.

The header is checked first, so that a file of several hours is refused without reading it.
"""

import io
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from espnet2_secap.data.io import atomic_write
from espnet2_secap.errors import SecError

SHORTEST = 400 / 16000  # seconds: one frame of HuBERT's convolutions
LONGEST = 1800.0  # seconds: no encoder takes more in one piece, and reading it would fill the memory
STREAMED = 0x7FFF0000  # from here on a length in a WAV header means "written to a pipe, length unknown"
MAX_CHUNKS = 1000  # in front of the data of a WAV file; real ones have a handful


class BadAudio(SecError):
    """A recording that cannot be used. The message says what is wrong and what to do, without the path."""


@dataclass
class Header:
    """What a sound file's header says: samples per channel, Hz, channels, length in seconds."""

    samples: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate

    def notes(self, fs: int) -> list[str]:
        """What is lost or added when it becomes mono audio of `fs` Hz, for the log."""
        notes = []
        if self.channels > 1:
            notes.append(f"{self.channels} channels averaged to mono")
        if self.rate < fs:
            notes.append(f"upsampled from {self.rate} Hz")
        return notes


def read_header(source: str | Path | bytes) -> Header:
    """Read the header of a sound file, or of the content of one, without its samples.

    Raises:
        BadAudio: missing, empty, cut short, not audio, or without samples.
    """
    try:
        if isinstance(source, bytes):
            _check_wav_length(io.BytesIO(source), len(source))
        else:
            status = os.stat(source)
            if not stat.S_ISREG(status.st_mode):
                raise BadAudio("is not a regular file; fix the path in wav.scp")
            if status.st_size == 0:
                raise BadAudio("is an empty file; copy it again")
            with open(source, "rb") as stream:
                _check_wav_length(stream, status.st_size)
        info = sf.info(_for_libsndfile(source))
    except FileNotFoundError:
        raise BadAudio("does not exist; copy it or fix the path in wav.scp") from None
    except OSError as err:
        raise BadAudio(f"cannot be read ({err.strerror}); fix the path or its permissions") from err
    except (sf.LibsndfileError, ValueError) as err:
        if isinstance(err, SecError):
            raise
        raise BadAudio("is not audio, or its header is cut short; copy it again or convert it to WAV") from err
    if info.frames == 0:
        raise BadAudio("has no samples; record or copy it again")
    return Header(info.frames, info.samplerate, info.channels)


def _for_libsndfile(source: str | Path | bytes) -> str | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)


def _check_wav_length(stream: io.BufferedReader, file_size: int) -> None:
    """Compare the data length in a RIFF/WAVE header with the file's: libsndfile reads cut files without a word."""
    head = stream.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    start = 12
    for _ in range(MAX_CHUNKS):
        stream.seek(start)
        chunk = stream.read(8)
        if len(chunk) < 8:
            raise BadAudio("is cut short: no data chunk; copy it again")
        name, size = struct.unpack("<4sI", chunk)
        start += 8
        if name == b"data":
            break
        start += size + size % 2
    else:
        raise BadAudio("is not audio: no data chunk in it; copy it again")
    there = file_size - start
    if size < STREAMED and there < size:
        raise BadAudio(f"is cut short: {there} of the {size} bytes in its header; copy it again")


def check_length(header: Header, minimum: float = SHORTEST, maximum: float = LONGEST) -> None:
    """Refuse audio that is shorter or longer than the limits (seconds), or than any encoder accepts.

    Raises:
        BadAudio: which limit it exceeds.
    """
    seconds = header.seconds
    if seconds < SHORTEST:
        raise BadAudio(f"is too short: {seconds:.4f} s, speech features need {SHORTEST} s; leave it out")
    if seconds > LONGEST:
        raise BadAudio(f"is too long: {seconds:.0f} s, must be at most {LONGEST:.0f} s; cut it into sentences")
    if seconds < minimum:
        raise BadAudio(f"is too short: {seconds:.3f} s, --min_wav_duration is {minimum:g} s")
    if seconds > maximum:
        raise BadAudio(f"is too long: {seconds:.1f} s, --max_wav_duration is {maximum:g} s")


def read_audio(source: str | Path | bytes, fs: int, header: Header | None = None) -> np.ndarray:
    """Read a recording, a file or its content, as mono PCM at `fs` Hz.

    Channels are averaged; resampled with soxr, clipped where it overshoots.

    Returns:
        (samples,) int16

    Raises:
        BadAudio: whatever `read_header` finds, samples that cannot be decoded, NaN or Inf, silence.
    """
    header = header or read_header(source)
    samples, rate = read_samples(source)
    check_complete(len(samples), header)
    mono = to_mono(samples)
    if not samples.any():
        raise BadAudio("is silent: all samples are zero; record it again or leave it out")
    if rate != fs:
        mono = soxr.resample(mono, rate, fs)
    return check_heard(to_pcm(mono))


def check_complete(read: int, header: Header) -> None:
    """Raise BadAudio where fewer samples were read than the header says."""
    if read < header.samples:
        raise BadAudio(f"is cut short: {read} of the {header.samples} samples in its header; copy it again")


def to_mono(samples: np.ndarray) -> np.ndarray:
    """(samples, channels) -> the mean of the channels, (samples,).

    Raises:
        BadAudio: NaN or Inf.
    """
    if not np.isfinite(samples).all():
        raise BadAudio("has NaN or infinite samples; convert it again from its source")
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def to_pcm(mono: np.ndarray) -> np.ndarray:
    """Float samples of full scale 1 as int16, rounded and clipped."""
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def check_heard(pcm: np.ndarray) -> np.ndarray:
    """The samples; BadAudio where all of them are zero."""
    if not pcm.any():
        raise BadAudio("is silent in 16 bits as mono; amplify it or leave it out")
    return pcm


def read_samples(source: str | Path | bytes) -> tuple[np.ndarray, int]:
    """Decode a sound file, or the content of one, as it is.

    Returns:
        (samples, channels) float32, and the sampling rate in Hz.

    Raises:
        BadAudio: it cannot be decoded.
    """
    try:
        return sf.read(_for_libsndfile(source), dtype="float32", always_2d=True)
    except (sf.LibsndfileError, ValueError, MemoryError) as err:
        raise BadAudio("cannot be decoded, it may be cut short; copy it again") from err


def write_audio(path: str | Path, pcm: np.ndarray, fs: int, mtime_ns: int | None = None) -> None:
    """Write mono samples, whole or not at all; the suffix (.wav, .flac) names the format, always 16 bits.

    Args:
        path: what to write.
        pcm: (samples,) int16.
        fs: sampling rate in Hz.
        mtime_ns: time of change the file is given, in nanoseconds: that of its source (see `is_made_from`).

    Raises:
        OSError, SecError: no space, no permission, ...
    """
    memory = io.BytesIO()
    sf.write(memory, pcm, fs, subtype="PCM_16", format=Path(path).suffix[1:].upper())
    with atomic_write(path, "wb", sync=False) as stream:
        stream.write(memory.getbuffer())
        if mtime_ns is not None:
            stream.flush()
            os.utime(stream.fileno(), ns=(mtime_ns, mtime_ns))


def is_made_from(path: str | Path, source: str | Path, header: Header, fs: int) -> int | None:
    """Samples of the audio at `path` where it is whole and was made from `source` as that is now, else None.

    It carries its source's time of change, so a recording that was replaced since then is read again.

    Args:
        path: formatted audio of an earlier run, or nothing.
        source: the recording.
        header: header of the recording.
        fs: sampling rate that is wanted, in Hz.
    """
    try:
        made = made_samples(path, os.stat(source).st_mtime_ns, fs)
    except OSError:
        return None
    expected = header.samples * fs / header.rate
    return None if made is None or abs(made - expected) > 2 else made


def made_samples(path: str | Path, mtime_ns: int, fs: int) -> int | None:
    """Samples of the audio at `path` where it is whole, mono, of `fs` Hz and has this time of change, else None."""
    try:
        if os.stat(path).st_mtime_ns != mtime_ns:
            return None
        made = read_header(path)
    except (OSError, BadAudio):
        return None
    return made.samples if made.rate == fs and made.channels == 1 else None

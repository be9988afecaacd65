"""Reading recordings that may be broken, and writing them as mono audio of one sampling rate.

What is in a file is found first (see parts.py), without its samples: a file of several hours is refused unread. Then
it is decoded to its end, block by block, and what comes out is counted, whatever the header says.
"""

import contextlib
import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from espnet2_secap.data.io import atomic_write
from espnet2_secap.data.mpeg import is_mpeg, mpeg_parts
from espnet2_secap.data.parts import MISSING_SECONDS, MORE, BadAudio, Found, Part, View, read_at
from espnet2_secap.data.riff import riff_parts
from espnet2_secap.data.xiph import flac_parts, ogg_parts
from espnet2_secap.errors import SecError

SHORTEST = 400 / 16000  # seconds: one frame of HuBERT's convolutions
RATES = (1000, 768000)  # Hz: below or above, a header is wrong
LONGEST = 1800.0  # seconds: no encoder takes more in one piece, and reading it would fill the memory
BLOCK = 2**22  # samples that are decoded at a time
LOUDEST = 2.0  # float samples up to here overshoot and are clipped; beyond, they have another scale
CLIPPED = 1e-3  # share of a recording's samples above which clipping is noted: resampling overshoots a little
SEARCHED = 1 << 16  # bytes in which a header is looked for
UP_TO = ", up to "  # before a share in a note
QUIET = 32  # largest sample of 32768 (-60 dB) below which five bits are left
EXACT = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW")  # never beyond full scale

UNKNOWN = "is not audio, or its header is cut short; copy it again or convert it to WAV"


class NotAudio(BadAudio):
    """A file of a kind that libsndfile does not know."""


@dataclass
class Header:
    """What is in a sound file, by its header and a look at its bytes: samples per channel, Hz, channels.

    Attributes:
        found: its recordings, and what the header got wrong.
    """

    samples: int
    rate: int
    channels: int
    found: Found = field(default_factory=Found, compare=False)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate

    def notes(self, fs: int) -> list[str]:
        """What is lost or added when it becomes mono audio of `fs` Hz, and what its header gets wrong, for the log."""
        notes = []
        if self.channels > 1:
            notes.append(f"{self.channels} channels averaged to mono")
        if self.rate < fs:
            notes.append(f"upsampled from {self.rate} Hz")
        return notes + self.found.notes


@dataclass
class Decoded:
    """A recording as mono PCM.

    Attributes:
        pcm: (samples,) int16.
        notes: on its level, and on what was missing at its end.
    """

    pcm: np.ndarray
    notes: list[str] = field(default_factory=list)


def read_header(source: str | Path | bytes) -> Header:
    """Look at a sound file, or at the content of one, without decoding it.

    Raises:
        BadAudio: missing, empty, cut short, not audio, or without samples.
    """
    try:
        if not isinstance(source, bytes):
            status = os.stat(source)
            if not stat.S_ISREG(status.st_mode):
                raise BadAudio("is not a regular file; fix the path in wav.scp")
            if status.st_size == 0:
                raise BadAudio("is an empty file; copy it again")
        with _stream(source) as stream:
            size = stream.seek(0, io.SEEK_END)
            found = look(stream, size)
            try:
                infos = _infos(source, found)
            except sf.LibsndfileError:
                found = None if found.parts else behind_other_bytes(stream, size)
                if found is None:
                    raise
                infos = _infos(source, found)
            if infos[0][3] == "MP3" and not (found.parts or is_mpeg(read_at(stream, 0, 4))):  # known by its name
                found = mpeg_parts(stream, 0, size) or found
                infos = _infos(source, found)
    except FileNotFoundError:
        raise BadAudio("does not exist; copy it or fix the path in wav.scp") from None
    except OSError as err:
        raise BadAudio(f"cannot be read ({err.strerror}); fix the path or its permissions") from err
    except (sf.LibsndfileError, ValueError, ArithmeticError, struct.error) as err:
        if isinstance(err, SecError):
            raise
        raise NotAudio(UNKNOWN) from err
    for _, rate, *_ in infos:
        if not RATES[0] <= rate <= RATES[1]:
            raise BadAudio(f"has a header that says {rate} Hz, which no recording of speech has; copy it again")
    rate, samples = infos[0][1], sum(count * infos[0][1] / rate for count, rate, *_ in infos)
    if not samples:
        raise BadAudio("has no samples; record or copy it again")
    return Header(round(samples), rate, max(channels for _, _, channels, _ in infos), found)


def look(stream: io.BufferedIOBase, size: int) -> Found:
    """What is in a file, by its bytes; nothing where it is of a kind whose header libsndfile does not need.

    Raises:
        BadAudio: it is cut short.
    """
    start = read_at(stream, 0, 10)
    if start[:4] == b"OggS":
        return ogg_parts(stream, size)
    if start[:3] == b"ID3" and len(start) == 10:
        tag = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
        start = read_at(stream, tag, 10)
        if start[:4] == b"fLaC":
            return flac_parts(stream, tag, size)
        return mpeg_parts(stream, 0, size) or Found()
    if start[:4] == b"fLaC":
        return flac_parts(stream, 0, size)
    if is_mpeg(start[:4]):
        return mpeg_parts(stream, 0, size) or Found()
    return riff_parts(stream, size) or Found()


def behind_other_bytes(stream: io.BufferedIOBase, size: int) -> Found | None:
    """What is in a file that does not begin with a header: another program's tag, a log, a part of a page."""
    magics = re.finditer(rb"OggS\x00\x02|fLaC[\x00\x80]\x00\x00\x22|RIFF....WAVE", read_at(stream, 0, SEARCHED), re.S)
    for magic in magics:
        name, at = magic.group()[:4], magic.start()
        with contextlib.suppress(BadAudio):
            if name == b"OggS":
                found = ogg_parts(stream, size)
            else:
                found = flac_parts(stream, at, size) if name == b"fLaC" else riff_parts(stream, size, at)
            if found:
                found.parts = found.parts or [Part([(at, size)])]
                found.note("with other bytes before the sound, passed over")
                return found
    return mpeg_parts(stream, 0, size)


def _infos(source: str | Path | bytes, found: Found) -> list[tuple[int, int, int, str]]:
    """Samples per channel, Hz, channels and format of each recording."""
    infos = []
    for part in found.parts or [None]:
        with open_part(source, part) as sound:
            samples = sound.frames if part is None or part.samples is None else part.samples
            infos.append((samples, sound.samplerate, sound.channels, sound.format))
    return infos


@contextlib.contextmanager
def _stream(source: str | Path | bytes) -> Iterator[io.BufferedIOBase]:
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
        yield stream


@contextlib.contextmanager
def open_part(source: str | Path | bytes, part: Part | None) -> Iterator[sf.SoundFile]:
    """Open a recording of a sound file, or of the content of one, with libsndfile; all of it if None."""
    if part is None and not isinstance(source, bytes) and str(source).lower().endswith(".raw"):
        part = Part([(0, os.path.getsize(source))])  # soundfile takes such a name for a file without a header
    if part is None:
        with sf.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as sound:
            yield sound
        return
    with _stream(source) as stream, sf.SoundFile(View(stream, part.spans)) as sound:
        yield sound


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
    """The samples that `decode` gives, (samples,) int16."""
    return decode(source, fs, header).pcm


def decode(
    source: str | Path | bytes, fs: int, header: Header | None = None, longest: float = LONGEST, block: int = 0
) -> Decoded:
    """Read a recording, a file or its content, to its end as mono PCM at `fs` Hz.

    Channels are averaged; resampled with soxr, clipped where it overshoots. Memory holds the result and a block.

    Args:
        source: the recording.
        fs: sampling rate in Hz.
        header: of the recording, where it was read.
        longest: seconds, beyond which it is refused.
        block: samples that are decoded at a time; by default `BLOCK`.

    Raises:
        BadAudio: whatever `read_header` finds, samples that cannot be decoded, NaN or Inf, float samples of another
            scale, silence.
    """
    header = header or read_header(source)
    output, heard, peak, clipped, notes = [], False, 0, 0, []
    try:
        for part in header.found.parts or [None]:
            with open_part(source, part) as sound:
                read, resampler, more = 0, None, True
                inexact = sound.subtype not in EXACT
                while more:
                    samples = sound.read(block or BLOCK, dtype="float32", always_2d=True)
                    more = len(samples) == (block or BLOCK)
                    read += len(samples)
                    if read > longest * sound.samplerate + 1:
                        raise BadAudio(f"is too long: more than {longest:.0f} s; cut it into sentences")
                    mono = to_mono(samples)
                    if sound.subtype in ("FLOAT", "DOUBLE") and len(samples):
                        check_scale(max(float(samples.max()), -float(samples.min())))
                    if sound.samplerate != fs and (more or resampler is not None):
                        resampler = resampler or soxr.ResampleStream(sound.samplerate, fs, 1, dtype="float32")
                        mono = resampler.resample_chunk(mono, last=not more)
                    elif sound.samplerate != fs and len(mono):
                        mono = soxr.resample(mono, sound.samplerate, fs)
                    output.append(to_pcm(mono))
                    if len(mono):
                        peak = max(peak, int(output[-1].max()), -int(output[-1].min()))
                    heard = heard or peak > 0 or bool(samples.any())
                    if inexact or sound.samplerate != fs:
                        clipped += int(np.count_nonzero(np.abs(mono) > 1.0))
                check_complete(read, sound, part, notes)
    except (sf.LibsndfileError, ValueError, MemoryError) as err:
        if isinstance(err, SecError):
            raise
        raise BadAudio("cannot be decoded, it may be cut short; copy it again") from err
    if not heard:
        raise BadAudio("is silent: all samples are zero; record it again or leave it out")
    pcm = output[0] if len(output) == 1 else np.concatenate(output)
    if peak < QUIET:
        check_heard(pcm)
        notes.append("quieter than -60 dB of full scale at its peak, few bits are left of it")
    if clipped > CLIPPED * len(pcm):
        notes.append(f"clipped at full scale{UP_TO}{100 * clipped / len(pcm):.1f}% of the samples")
    return Decoded(pcm, notes)


def check_complete(read: int, sound: sf.SoundFile, part: Part | None, notes: list[str]) -> None:
    """Compare what was decoded with what libsndfile expected, of a kind whose length is in the header.

    Raises:
        BadAudio: much is missing. What is little becomes a note.
    """
    expected = sound.frames if part is None or part.samples is None else part.samples
    if read >= expected:
        return
    if expected - read > MISSING_SECONDS * sound.samplerate:
        raise BadAudio(f"is cut short: {read} of the {expected} samples in its header; copy it again")
    notes.append(MORE)


def check_scale(peak: float, error: type[SecError] = BadAudio, what: str = "") -> None:
    """Raise an error where float samples have another scale than -1 to 1.

    Args:
        peak: the largest absolute value.
        error: its class.
        what: what has them.
    """
    if peak > LOUDEST:
        hint = "divide it by 32768" if 256 < peak <= 2**15 else "scale it"
        raise error(f"{what} has float samples up to {peak:.1f}, expected -1 to 1; {hint}".strip())


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
    scaled = mono * 32768.0
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


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
        return sf.read(
            io.BytesIO(source) if isinstance(source, bytes) else str(source), dtype="float32", always_2d=True
        )
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
    expected, roundings = header.samples * fs / header.rate, 2 * max(1, len(header.found.parts))
    return None if made is None or abs(made - expected) > roundings else made


def made_samples(path: str | Path, mtime_ns: int, fs: int) -> int | None:
    """Samples of the audio at `path` where it is whole, mono, of `fs` Hz and has this time of change, else None."""
    try:
        if os.stat(path).st_mtime_ns != mtime_ns:
            return None
        made = read_header(path)
    except (OSError, BadAudio):
        return None
    return made.samples if made.rate == fs and made.channels == 1 else None

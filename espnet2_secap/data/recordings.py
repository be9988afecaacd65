"""Recordings as their owners have them: any format, sampling rate, type and shape, as mono float32 for a model.

A file gives the same samples as stage 2 would store: 16 bits, channels averaged, resampled with soxr.
"""

from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from espnet2_secap.data.audio import (
    LONGEST,
    BadAudio,
    Header,
    check_complete,
    check_heard,
    read_audio,
    read_header,
    to_mono,
    to_pcm,
)
from espnet2_secap.data.ffmpeg import ENDINGS, MISSING, decoded, installed
from espnet2_secap.errors import SecError

MOST = 12 * 3600.0  # seconds of one recording: 1.4 GB as 16 bits at 16 kHz
LOUDEST = 2.0  # float samples up to here overshoot and are clipped; beyond, they have another scale
MANY_CHANNELS = 8  # (channels, samples) is recognised up to here
SCALES = {"int8": (0, 2**7), "uint8": (2**7, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}  # zero, full scale

UNKNOWN = "is not audio, or its header is cut short; copy it again or convert it to WAV"


def as_waveform(audio, rate: float, fs: int) -> np.ndarray:
    """Samples of any common type and shape as mono float32 at `fs` Hz.

    Args:
        audio: (samples,) or (samples, channels); (channels, samples), as torchaudio gives it, where the first axis is
            at most 8 and the second longer. NumPy array, torch tensor or list of floats; int8, uint8, int16, int32
            (full scale = 1) or float from -1 to 1.
        rate: its sampling rate in Hz.
        fs: the sampling rate that is wanted, in Hz.

    Returns:
        (samples,) float32, -1 to 1. Floats at `fs` Hz are kept as they are; others are resampled with soxr.

    Raises:
        SecError: wrong shape, type, scale or rate; no samples, NaN, silence.
    """
    rate = _checked_rate(rate)
    samples = _as_float(_as_array(audio))  # (samples,) or two axes
    if samples.ndim == 2:
        samples = _channels_last(samples).mean(axis=1)
    elif samples.ndim != 1:
        raise SecError(f"audio has the shape {samples.shape}; give (samples,) or (samples, channels)")
    if not len(samples):
        raise SecError("audio has no samples; check how it was read")
    if not samples.any():
        raise SecError("audio is silent: all samples are zero; check how it was read")
    if rate != fs:
        samples = soxr.resample(samples, rate, fs)
    return np.clip(samples, -1.0, 1.0)


def _checked_rate(rate: float) -> float:
    try:
        value = float(rate)
    except (TypeError, ValueError):
        raise SecError(f"sampling rate {rate!r}: must be a number of Hz, such as 16000") from None
    if not 0 < value < np.inf:
        raise SecError(f"sampling rate {rate!r}: must be a positive number of Hz, such as 16000")
    return value


def _as_array(audio) -> np.ndarray:
    if hasattr(audio, "detach"):  # a torch tensor, without an import of torch
        audio = audio.detach().cpu()
        audio = audio.float() if audio.is_floating_point() else audio
        return audio.numpy()
    try:
        return np.asarray(audio)
    except ValueError as err:  # lists of different lengths
        raise SecError(f"audio is not an array ({err}); give (samples,) or (samples, channels)") from None


def _as_float(array: np.ndarray) -> np.ndarray:
    """The same shape as float32, checked to be finite and of full scale 1."""
    kind = array.dtype.name
    if kind in SCALES:
        zero, full = SCALES[kind]
        return ((array.astype(np.float64) - zero) / full).astype(np.float32)
    if array.dtype.kind != "f":
        raise SecError(f"audio has the type {kind}, whose full scale is unknown; give int16, int32 or float (-1 to 1)")
    if not np.isfinite(array).all():
        raise SecError("audio has NaN or infinite samples; check how it was read")
    _check_scale(float(np.abs(array).max(initial=0.0)), SecError, "audio")
    return array.astype(np.float32)


def _check_scale(peak: float, error: type[SecError], what: str) -> None:
    if peak > LOUDEST:
        hint = "divide it by 32768" if 256 < peak <= 2**15 else "scale it"
        raise error(f"{what} has float samples up to {peak:.1f}, expected -1 to 1; {hint}".strip())


def _channels_last(samples: np.ndarray) -> np.ndarray:
    """(samples, channels) of either order of axes."""
    first, second = samples.shape
    if first <= MANY_CHANNELS < second:  # as torchaudio gives it
        return samples.T
    if second <= MANY_CHANNELS and (first > MANY_CHANNELS or second == 1):
        return samples
    raise SecError(
        f"audio has the shape {samples.shape}, channels cannot be told from samples; give (samples, channels)"
    )


def load_recording(path: str | Path, fs: int) -> np.ndarray:
    """Read an audio or video file as mono float32 at `fs` Hz, by libsndfile or else by ffmpeg.

    Returns:
        (samples,) float32, -1 to 1.

    Raises:
        SecError: the path, why it cannot be read, and what to do.
    """
    try:
        return to_float(read_recording(path, fs))
    except BadAudio as err:
        raise SecError(f"{path}: {err}") from err


def to_float(pcm: np.ndarray) -> np.ndarray:
    """int16 samples as float32 from -1 to 1."""
    return pcm.astype(np.float32) / 2**15


def needs_ffmpeg(path: str | Path) -> bool:
    """Whether libsndfile cannot open a file that is there, readable and not empty; ffmpeg may know it."""
    try:
        if not Path(path).is_file() or not Path(path).stat().st_size:
            return False
        with open(path, "rb"):
            pass
        sf.info(str(path))
    except (sf.LibsndfileError, TypeError):  # TypeError: soundfile's for names that end with .raw
        return True
    except OSError:
        return False
    return False


def check_recording(path: str | Path) -> Header | None:
    """Look at a recording's header, where libsndfile can read it, and for ffmpeg, where it cannot.

    Returns:
        its header; None where it takes ffmpeg to read it.

    Raises:
        BadAudio: what stage 2 would find in the header; longer than 12 hours; ffmpeg is needed and missing.
    """
    if not needs_ffmpeg(path):
        header = read_header(path)
        _check_most(header)
        return header
    if not installed():
        raise BadAudio(MISSING if _is_foreign(path) else f"{UNKNOWN}; some formats need ffmpeg, which is not on PATH")
    return None


def _is_foreign(path: str | Path) -> bool:
    return Path(path).suffix.lower() in ENDINGS


def read_recording(path: str | Path, fs: int) -> np.ndarray:
    """Read an audio or video file as mono PCM at `fs` Hz, by libsndfile or else by ffmpeg.

    Returns:
        (samples,) int16, as `data.audio.read_audio` gives them.

    Raises:
        BadAudio: why it cannot be read, without the path.
    """
    header = check_recording(path)
    if header is not None:
        return _read(path, fs, header)
    try:
        with decoded(path) as made:
            return _read(made, fs, read_header(made))
    except BadAudio as err:
        if _is_foreign(path):
            raise
        raise BadAudio(UNKNOWN) from err  # of a file that is called .wav it says more than ffmpeg does


def _read(path: str | Path, fs: int, header: Header) -> np.ndarray:
    if sf.info(str(path)).subtype in ("FLOAT", "DOUBLE"):
        with sf.SoundFile(str(path)) as sound:
            peaks = [float(np.abs(block).max()) for block in sound.blocks(2**20, dtype="float32")]
        _check_scale(max(peaks, default=0.0), BadAudio, "")
    return read_audio(path, fs, header) if header.seconds <= LONGEST else _read_long(path, fs, header)


def _check_most(header: Header) -> None:
    if header.seconds > MOST:
        raise BadAudio(f"is too long: {header.seconds / 3600:.1f} h, at most {MOST / 3600:.0f} h are read; cut it")


def _read_long(path: str | Path, fs: int, header: Header, block: int = 2**22) -> np.ndarray:
    """What `read_audio` gives, bit by bit, `block` samples at a time: memory holds the result only."""
    resampler = soxr.ResampleStream(header.rate, fs, 1, dtype="float32") if header.rate != fs else None
    parts, read = [], 0
    try:
        with sf.SoundFile(str(path)) as sound:
            while len(samples := sound.read(block, dtype="float32", always_2d=True)):  # (samples, channels)
                read += len(samples)
                mono = to_mono(samples)
                if resampler is not None:
                    mono = resampler.resample_chunk(mono, last=read == header.samples)
                parts.append(to_pcm(mono))
    except sf.LibsndfileError as err:
        raise BadAudio("cannot be decoded, it may be cut short; copy it again") from err
    check_complete(read, header)
    return check_heard(np.concatenate(parts))

"""Recordings as their owners have them: any format, sampling rate, type and shape, as mono float32 for a model.

A file gives the same samples as stage 2 would store: 16 bits, channels averaged, resampled with soxr.
"""

import logging
from pathlib import Path

import numpy as np
import soxr

from espnet2_secap.data.audio import (
    CLIPPED,
    QUIET,
    UNKNOWN,
    BadAudio,
    Decoded,
    Header,
    NotAudio,
    check_scale,
    decode,
    read_header,
)
from espnet2_secap.data.ffmpeg import ENDINGS, MISSING, decoded, installed
from espnet2_secap.errors import SecError, shorten

MOST = 12 * 3600.0  # seconds of one recording: 1.4 GB as 16 bits at 16 kHz
LOWEST, HIGHEST = 1000, 1_000_000  # Hz, of samples that are given with their rate; 16 or 44.1 are kHz
MANY_CHANNELS = 8  # (channels, samples) is recognised up to here
SCALES = {"int8": (0, 2**7), "uint8": (2**7, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}  # zero, full scale


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
    _check_kind(audio)
    rate = _checked_rate(rate)
    samples = as_mono(audio)
    if not samples.any():
        raise SecError("audio is silent: all samples are zero; check how it was read")
    if rate != fs:
        samples = np.clip(soxr.resample(samples, rate, fs), -1.0, 1.0)
    return samples


def as_mono(audio) -> np.ndarray:
    """Samples of any common type and shape, see `as_waveform`, as mono float32 from -1 to 1, (samples,).

    What is clipped, or hardly there, is a warning, as for files.

    Raises:
        SecError: wrong shape, type or scale; no samples, NaN.
    """
    samples = _as_float(_as_array(audio))  # (samples,) or two axes
    if samples.ndim == 2:
        samples = _channels_last(samples).mean(axis=1)
    elif samples.ndim != 1:
        raise SecError(f"audio has the shape {samples.shape}; give (samples,) or (samples, channels)")
    if not len(samples):
        raise SecError("audio has no samples; check how it was read")
    loudness = np.abs(samples)
    if (share := np.count_nonzero(loudness > 1.0) / len(samples)) > CLIPPED:
        logging.warning(f"audio: clipped at full scale, {100 * share:.1f}% of the samples")
    if 0 < loudness.max() < QUIET / 2**15:
        logging.warning("audio: quieter than -60 dB of full scale at its peak; was it divided by 32768 twice?")
    return np.clip(samples, -1.0, 1.0)


def _check_kind(audio) -> None:
    """See that it may be samples."""
    if isinstance(audio, dict):  # of datasets and transformers
        hint = 'give a pair, such as (audio["array"], audio["sampling_rate"])'
    elif hasattr(audio, "shape") or (hasattr(audio, "__len__") and not isinstance(audio, (str, bytes, set))):
        return
    else:
        hint = "give a path (str or Path), samples with their rate, or a pair (samples, rate)"
    raise SecError(f"audio of the type {type(audio).__name__} is not known; {hint}")


def _checked_rate(rate: float) -> float:
    try:
        value = None if isinstance(rate, (str, bytes, bool)) else float(rate)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        value = None
    if value is None:
        hint = "; give it with the samples" if rate is None else ""
        raise SecError(f"sampling rate {shorten(repr(rate))}: must be a number of Hz, such as 16000{hint}")
    if not 0 < value < np.inf:
        raise SecError(f"sampling rate {rate!r}: must be a positive number of Hz, such as 16000")
    if not LOWEST <= value <= HIGHEST:
        raise SecError(f"sampling rate {rate!r}: must be between {LOWEST} and {HIGHEST} Hz, such as 16000")
    return value


def _as_array(audio) -> np.ndarray:
    if hasattr(audio, "detach"):  # a torch tensor, without an import of torch
        audio = audio.detach().cpu()
        audio = audio.float() if audio.is_floating_point() else audio
        return audio.numpy()
    try:
        return np.asarray(audio)
    except (ValueError, TypeError, RuntimeError) as err:  # lists of different lengths; arrays on a device
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
    check_scale(float(np.abs(array).max(initial=0.0)), SecError, "audio")
    return array.astype(np.float32)


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
        made = decode_recording(path, fs)
    except BadAudio as err:
        raise SecError(f"{path}: {err}") from err
    for note in made.notes:
        logging.warning(f"{path}: {note}")
    return to_float(made.pcm)


def check_rate(path: str | Path, rate: float) -> None:
    """See that a file has the sampling rate that somebody says it has.

    Raises:
        SecError: its header says another; the rate is no number.
    """
    value, header = _checked_rate(rate), check_recording(path)
    if header is not None and value != header.rate:
        raise SecError(f"{path}: is sampled at {header.rate} Hz, not at {rate} Hz; leave the rate out for files")


def to_float(pcm: np.ndarray) -> np.ndarray:
    """int16 samples as float32 from -1 to 1."""
    return pcm.astype(np.float32) / 2**15


def check_recording(path: str | Path) -> Header | None:
    """Look at a recording, where libsndfile can read it, and for ffmpeg, where it cannot.

    Returns:
        its header; None where it takes ffmpeg to read it.

    Raises:
        BadAudio: what stage 2 would find; longer than 12 hours; ffmpeg is needed and missing.
    """
    try:
        header = read_header(path)
    except NotAudio:
        if not installed():
            more = f"{UNKNOWN}; some formats need ffmpeg, which is not on PATH"
            raise BadAudio(MISSING if _is_foreign(path) else more) from None
        return None
    if header.seconds > MOST:
        raise BadAudio(f"is too long: {header.seconds / 3600:.1f} h, at most {MOST / 3600:.0f} h are read; cut it")
    return header


def _is_foreign(path: str | Path) -> bool:
    return Path(path).suffix.lower() in ENDINGS


def read_recording(path: str | Path, fs: int) -> np.ndarray:
    """The samples that `decode_recording` gives, (samples,) int16."""
    return decode_recording(path, fs).pcm


def decode_recording(path: str | Path, fs: int) -> Decoded:
    """Read an audio or video file as mono PCM at `fs` Hz, by libsndfile or else by ffmpeg.

    Returns:
        what `data.audio.decode` gives, with notes on what its header gets wrong.

    Raises:
        BadAudio: why it cannot be read, without the path.
    """
    header = check_recording(path)
    if header is not None:
        made = decode(path, fs, header, MOST)
        made.notes = [*header.found.notes, *made.notes]
        return made
    try:
        with decoded(path) as made:
            return decode(made, fs, longest=MOST)
    except BadAudio as err:
        if _is_foreign(path):
            raise
        raise BadAudio(UNKNOWN) from err  # of a file that is called .wav it says more than ffmpeg does

"""Sounds for tests of what reads audio, good and bad."""

import io
import struct
from pathlib import Path

import numpy as np
import soundfile as sf

from espnet2_secap.data.audio import decode, read_header


def tone(seconds=1.0, rate=16000, hz=440.0) -> np.ndarray:
    """(samples,) float32: a sine of half the full scale."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def peak_hz(samples, rate) -> float:
    """The frequency with the most energy."""
    return np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)


def make_bad(kind: str, path: Path) -> None:
    """Make a bad recording at `path`."""
    sf.write(path, tone(), 16000, format="WAV")
    whole = path.read_bytes()
    nan = tone()
    nan[100] = np.nan
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut short":
        path.write_bytes(whole[:20000])
    elif kind == "cut in the header":
        path.write_bytes(whole[:30])
    elif kind == "text":
        path.write_text("this is not audio\n" * 100)
    elif kind == "raw":
        path.write_bytes(whole[44:])
    elif kind == "zeros instead of chunks":
        path.write_bytes(whole[:12] + bytes(10**6))
    elif kind == "no samples":
        sf.write(path, tone(0), 16000)
    elif kind == "silent":
        sf.write(path, np.zeros(16000), 16000)
    elif kind == "silent as mono":
        sf.write(path, np.stack([tone(), -tone()], axis=1), 16000)
    elif kind == "nan":
        sf.write(path, nan, 16000, subtype="FLOAT")
    elif kind == "inf":
        sf.write(path, np.where(np.isnan(nan), np.inf, nan), 16000, subtype="FLOAT")
    elif kind == "cut flac":
        sf.write(path, tone(3), 16000, format="FLAC")
        path.write_bytes(path.read_bytes()[:5000])
    else:
        raise AssertionError(kind)


def noise(seconds=1.0, rate=16000, seed=0) -> np.ndarray:
    """(samples,) float32 of a tenth of the full scale."""
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def content(samples, rate=16000, form="WAV", subtype=None, **more) -> bytes:
    """The content of a sound file, as libsndfile writes it."""
    memory = io.BytesIO()
    sf.write(memory, samples, rate, format=form, subtype=subtype, **more)
    return memory.getvalue()


def patched(data: bytes, at: int, value: int, form: str = "<I") -> bytes:
    """The same with a number at another value."""
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def found_in(path: Path, data: bytes) -> tuple[int, list[str]]:
    """Samples that are read of a file with this content, and what is noted; the same of the content alone."""
    path.write_bytes(data)
    (header, made), other = ((read_header(source), decode(source, 16000)) for source in (path, data))
    assert other[0].notes(0) == header.notes(0) and np.array_equal(other[1].pcm, made.pcm)
    assert abs(len(made.pcm) - header.samples * 16000 / header.rate) <= 2, "the header's look and the reading"
    return len(made.pcm), header.notes(0) + made.notes

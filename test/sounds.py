"""Sounds for tests of what reads audio, good and bad."""

from pathlib import Path

import numpy as np
import soundfile as sf


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

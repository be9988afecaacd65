"""What rooms, noise and telephones do to a recording: for copies of a training set, and for synthetic test sets.

All of it is drawn by a key, so that the same recording is always distorted in the same way. The level of the speech
stays as it is, since captions tell the volume.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import soxr

from espnet2_secap.errors import SecError
from espnet2_secap.values import Range, checked

Decibel = Annotated[float, Range(least=-20, most=60)]
Seconds = Annotated[float, Range(least=0.05, most=3)]

TELEPHONE_RATE = 8000  # Hz
TELEPHONE_BAND = (300.0, 3400.0)  # Hz (ITU-T G.712)
MU = 255  # of mu-law (ITU-T G.711)
DIRECT = (0.0, 6.0)  # dB of the direct sound above the reverberation
PREDELAY = 0.005  # seconds between them
# kind -> what its value may be, and the range it is drawn from if none is given; None: there is nothing to choose
KINDS = {"noise": (Decibel, (5.0, 20.0)), "reverb": (Seconds, (0.2, 0.8)), "telephone": None}
FORM = 'kinds with blanks between them, such as "noise reverb telephone", "noise=5,15" (dB), "reverb=0.3,0.9+noise=10"'


def add_noise(mono: np.ndarray, snr: float, key: str) -> np.ndarray:
    """The samples (n,) with white or pink noise (power as 1 / f), whichever the draw says, `snr` dB below them.

    Where the sum is beyond full scale, all of it is made quieter.
    """
    rng = _generator(key)
    pink = rng.random() < 0.5
    noise = rng.standard_normal(len(mono))
    if pink:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        noise = np.fft.irfft(spectrum, len(mono))
    power = np.mean(np.square(mono, dtype=np.float64)) / 10 ** (snr / 10)
    return _within(mono + noise * np.sqrt(power / max(np.mean(noise**2), 1e-12)))


def add_reverberation(mono: np.ndarray, fs: int, seconds: float, key: str) -> np.ndarray:
    """The samples (n,) as heard in a room: direct sound, then noise that decays by 60 dB in `seconds` (RT60).

    The response is that of Polack's statistical model of late reverberation (PhD thesis, Le Mans, 1988), drawn anew
    for each key; the direct sound is 0 to 6 dB above it. What would sound after the end is cut.
    """
    rng = _generator(key)
    direct = rng.uniform(*DIRECT)
    times = np.arange(round(seconds * fs)) / fs
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    tail *= 10 ** (-direct / 20) / max(np.sqrt(np.sum(tail**2)), 1e-12)
    response = np.concatenate([[1.0], np.zeros(round(PREDELAY * fs)), tail])
    size = len(mono) + len(response) - 1
    sound = np.fft.irfft(np.fft.rfft(mono, size) * np.fft.rfft(response, size), size)[: len(mono)]
    return _as_loud(sound, mono)


def through_telephone(mono: np.ndarray, fs: int) -> np.ndarray:
    """The samples (n,) at `fs` Hz as a telephone line carries them: 300 to 3400 Hz, 8 kHz, 8 bits by mu-law."""
    from scipy.signal import butter, sosfiltfilt

    narrow = soxr.resample(np.asarray(mono, dtype=np.float64), fs, TELEPHONE_RATE)
    band = butter(4, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    narrow = np.clip(sosfiltfilt(band, narrow, padlen=min(len(narrow) - 1, 100)), -1, 1)
    compressed = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)
    heard = np.round(compressed * 127) / 127
    narrow = np.sign(heard) * np.expm1(np.abs(heard) * np.log1p(MU)) / MU
    wide = soxr.resample(narrow, TELEPHONE_RATE, fs)
    return _as_loud(np.pad(wide, (0, max(0, len(mono) - len(wide))))[: len(mono)], mono)


@dataclass(frozen=True)
class Distortion:
    """One or several kinds of `KINDS`, one after the other.

    Args:
        steps: (kind, the least and the most of its value, or None).
    """

    steps: tuple[tuple[str, tuple[float, float] | None], ...]

    @property
    def name(self) -> str:
        """Such as reverb+noise5_15, in names of folders."""
        return "+".join(kind + "_".join(f"{one:g}" for one in dict.fromkeys(span or ())) for kind, span in self.steps)

    @property
    def prefix(self) -> str:
        """Of ids and speakers."""
        return f"{self.name}-"

    def apply(self, mono: np.ndarray, fs: int, key: str) -> np.ndarray:
        """Samples (n,) of full scale 1 at `fs` Hz -> the distorted ones (n,); `key` decides what is drawn."""
        for kind, span in self.steps:
            own = f"{key} {kind}"
            least, most = span or KINDS[kind][1] if KINDS[kind] else (0.0, 0.0)
            value = _generator(f"{own} value").uniform(least, most)
            if kind == "noise":
                mono = add_noise(mono, value, own)
            elif kind == "reverb":
                mono = add_reverberation(mono, fs, value, own)
            else:
                mono = through_telephone(mono, fs)
        return mono


def distortions(words: Iterable[str], option: str = "--augment") -> list[Distortion]:
    """What words such as `noise`, `noise=10`, `noise=5,15` and `reverb+noise=5,15` say.

    Args:
        words: of one distortion each; a value is fixed, or drawn between the two that are given.
        option: that they come from, for messages.

    Raises:
        SecError: an unknown kind, a value out of range, a kind that is there twice.
    """
    found = [Distortion(tuple(_step(part, f"{option} {word}") for part in word.split("+"))) for word in words]
    names = [one.name for one in found]
    for one in found:
        kinds = [kind for kind, _ in one.steps]
        if names.count(one.name) > 1 or len(set(kinds)) < len(kinds):
            raise SecError(f"{option} {one.name}: is there twice; give it once")
    return found


def _step(part: str, where: str) -> tuple[str, tuple[float, float] | None]:
    kind, equals, text = part.partition("=")
    if kind not in KINDS:
        raise SecError(f"{where}: {kind!r} is not one of {', '.join(KINDS)}; give {FORM}")
    if not equals:
        return kind, None
    if KINDS[kind] is None:
        raise SecError(f"{where}: {kind} has no value; give {kind}")
    hint, _ = KINDS[kind]
    values = [checked(f"{where}: {kind}", _number(one), hint) for one in text.split(",")]
    if len(values) > 2 or values != sorted(values):
        raise SecError(f"{where}: {kind}: must be one value, or the least and the most with a comma between them")
    return kind, (values[0], values[-1])


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(list(key.encode()))


def _as_loud(sound: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sound with the power of the other; quieter where it would be beyond full scale."""
    power = np.mean(np.square(other, dtype=np.float64)) / max(np.mean(sound**2), 1e-12)
    return _within(sound * np.sqrt(power))


def _within(sound: np.ndarray) -> np.ndarray:
    return sound / max(1.0, np.abs(sound).max(initial=0.0))

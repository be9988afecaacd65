"""Acoustic descriptors of a voice: pitch, loudness, spectral balance, rhythm, timbre. No neural network."""

from functools import cache
from typing import Literal

import numpy as np
import torch

from espnet2_secap.encoder.descriptors import FS, HOP, DescriptorEncoder, FrameShift

WINDOW, N_FFT = 400, 512  # samples: windows of 25 ms
F0_RANGE = (60.0, 600.0)  # Hz
F0_REFERENCE = 100.0  # Hz: 0 semitones, and the F0 of what is unvoiced
FLOOR = 1e-10  # power of what is silent: -100 dB
MELS, CEPSTRA = 40, 13
SMOOTH = 5  # frames over which the level is averaged before its peaks are looked for
PEAK_RANGE, PEAK_DIP = 25.0, 2.0  # dB (de Jong & Wempe 2009)

ALWAYS = ("energy",)  # statistics over all frames
WHEN_VOICED = ("alpha_ratio", "centroid", "flux")  # over voiced frames
FRAME = ("voiced", "f0", "f0_step", *ALWAYS, *WHEN_VOICED, "nucleus", "voiced_start")
MFCC = tuple(f"mfcc_{k}" for k in range(CEPSTRA))
STATISTICS = ("mean", "std", "p10", "p50", "p90")
RHYTHM = ("nuclei_per_second", "voiced_runs_per_second", "voiced_share", "voiced_run_seconds")


class AcousticEncoder(DescriptorEncoder):
    """22 descriptors per frame of 10 ms and 60 statistics per utterance; docs/features.md has all names and units.

    F0 is that of WORLD (DIO with StoneMask: Morise, Yokomori and Ozawa, 2016) from 60 to 600 Hz, in semitones above
    100 Hz; MFCC and spectra are those of windows of 25 ms; syllable nuclei are voiced peaks of the level, averaged over
    50 ms, that are within 25 dB of its 99th percentile and stand 2 dB above the dips beside them (de Jong and Wempe,
    2009). The alpha ratio and statistics over voiced frames follow GeMAPS (Eyben et al., 2016), flux Tzanetakis and
    Cook (2002).

    Every value is finite. Without any voiced frame F0 is 0 semitones (100 Hz) throughout, with steps of 0; its
    statistics are 0 too; those of the spectral balance are over all frames; `voiced_share` tells such recordings apart.
    Of silence the level is -100 dB, the alpha ratio 0 dB, centroid and flux 0.

    Args:
        level: "frame": the descriptors; "utterance": the statistics, repeated at every frame; "both": side by side.
        frame_shift: samples from one frame of the output to the next, a multiple of 160: 320 beside HuBERT; a large
            one, such as 16000, saves space where there are statistics only.

    Raises:
        SecError: pyworld is not installed; a frame shift that is no multiple of 160.
    """

    min_samples = WINDOW
    package_name = "pyworld"
    how_to_install = "install it: pip install pyworld"

    def __init__(self, level: Literal["frame", "utterance", "both"] = "both", frame_shift: FrameShift = HOP):
        super().__init__(level != "utterance", level != "frame", frame_shift)

    def frame_names(self) -> list[str]:
        """Names of the descriptors."""
        return [*FRAME, *MFCC]

    def utterance_names(self) -> list[str]:
        """Names of the statistics."""
        each = [f"{name}_{kind}" for name in ("f0", "f0_step", *ALWAYS, *WHEN_VOICED) for kind in STATISTICS]
        return [*each, *RHYTHM, *(f"{name}_{kind}" for kind in ("mean", "std") for name in MFCC)]

    def remark(self, feats: np.ndarray) -> str | None:
        """Whether nothing is voiced, of features (T, output_size())."""
        voiced = feats[:, self.names().index("voiced" if self.frames else "voiced_share")]
        return None if voiced.any() else "no voiced frame, so that their F0 is 0 throughout"

    def describe(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Descriptors (samples // 160, 22) and statistics (60,) of a waveform (samples,)."""
        frames, cepstra = descriptors(wave)
        table = np.column_stack([*frames.values(), cepstra])
        return table, statistics(frames, cepstra) if self.utterance else np.empty(0)


def descriptors(wave: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The descriptors of a waveform (samples,) at 16 kHz: each of FRAME (T,), and MFCC (T, 13); T = samples // 160."""
    count = len(wave) // HOP
    f0, voiced = f0_of(wave)
    power, level, centroid, flux = spectra(wave)
    bands = np.fft.rfftfreq(N_FFT, 1 / FS)
    low, high = (power[:, (bands >= a) & (bands < b)].sum(1) for a, b in ((50, 1000), (1000, 5000)))
    frames = {
        "voiced": voiced,
        "f0": f0,
        "f0_step": np.diff(f0, prepend=f0[:1]),
        "energy": level,
        "alpha_ratio": decibels(low) - decibels(high),
        "centroid": centroid,
        "flux": flux,
        "nucleus": nuclei(level, voiced),
        "voiced_start": voiced & ~np.concatenate([[False], voiced[:-1]]),
    }
    mel, dct = _filters()
    cepstra = decibels(power @ mel) @ dct  # (T, 13)
    return {name: frames[name][:count].astype(np.float64) for name in FRAME}, cepstra[:count]


def f0_of(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F0 (T,) in semitones above 100 Hz, interpolated where there is no voice, and whether there is, (T,)."""
    import pyworld

    samples = wave.astype(np.float64)
    longer = np.pad(samples, (0, max(0, FS // 10 - len(samples))))  # 0.1 s: three periods of 60 Hz and more
    low, high = F0_RANGE
    rough, times = pyworld.dio(longer, FS, f0_floor=low, f0_ceil=high, frame_period=1000 * HOP / FS)
    hertz = pyworld.stonemask(longer, rough, times, FS)[: len(samples) // HOP]
    voiced = hertz > 0
    if not voiced.any():
        return np.zeros(len(hertz)), voiced
    where = np.flatnonzero(voiced)
    return np.interp(np.arange(len(hertz)), where, 12 * np.log2(hertz[where] / F0_REFERENCE)), voiced


def spectra(wave: np.ndarray) -> tuple[np.ndarray, ...]:
    """Power spectra (T, 257); level (T,) in dB of full scale; spectral centroid (T,) in Hz; spectral flux (T,)."""
    import torchaudio.functional as F

    samples, window = torch.from_numpy(wave).double(), torch.hann_window(WINDOW, dtype=torch.float64)
    sizes = dict(n_fft=N_FFT, hop_length=HOP, win_length=WINDOW)
    power = F.spectrogram(samples, 0, window, power=2.0, normalized=False, **sizes).T  # (T, 257)
    level = torch.nn.functional.avg_pool1d(
        samples.square()[None], WINDOW, HOP, padding=WINDOW // 2, count_include_pad=False
    )[0]
    centroid = F.spectral_centroid(samples, FS, 0, window, **sizes).nan_to_num(0.0)
    shape = torch.nn.functional.normalize(power.sqrt(), p=1.0, dim=1)
    flux = torch.cat([shape.new_zeros(1), (shape[1:] - shape[:-1]).norm(dim=1)])
    count = len(wave) // HOP
    return tuple(one[:count].numpy() for one in (power, 10 * level.clamp(min=FLOOR).log10(), centroid, flux))


def nuclei(level: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Where syllable nuclei are, (T,): the mean times 100 is their number per second.

    Args:
        level: in dB, (T,).
        voiced: (T,).
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import find_peaks

    smooth = uniform_filter1d(level, SMOOTH)
    peaks, _ = find_peaks(smooth, height=np.percentile(smooth, 99) - PEAK_RANGE, prominence=PEAK_DIP)
    marks = np.zeros(len(level), dtype=bool)
    marks[peaks] = voiced[peaks]
    return marks


def statistics(frames: dict[str, np.ndarray], cepstra: np.ndarray) -> np.ndarray:
    """The statistics (60,) of descriptors, in the order of `AcousticEncoder.utterance_names`."""
    voiced = frames["voiced"] > 0
    within = voiced & np.concatenate([[False], voiced[:-1]])  # the frame before is voiced, too
    where = {"f0": voiced, "f0_step": within} | {name: voiced if voiced.any() else ~voiced for name in WHEN_VOICED}
    values = [
        summary(frames[name][where[name]] if name in where else frames[name])
        for name in ("f0", "f0_step", *ALWAYS, *WHEN_VOICED)
    ]
    runs = frames["voiced_start"].sum()
    seconds = voiced.sum() * HOP / FS / runs if runs else 0.0
    rates = [frames[name].mean() * FS / HOP for name in ("nucleus", "voiced_start")]
    return np.concatenate([*values, [*rates, voiced.mean(), seconds], cepstra.mean(0), cepstra.std(0)])


def summary(values: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and percentiles 10, 50, 90 of values (n,): (5,); zeros of none."""
    if not len(values):
        return np.zeros(len(STATISTICS))
    return np.array([values.mean(), values.std(), *np.percentile(values, (10, 50, 90))])


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of a power, at least -100 dB."""
    return 10 * np.log10(np.maximum(power, FLOOR))


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Mel filters (257, 40) and the orthonormal cosine transform (40, 13)."""
    import torchaudio.functional as F

    mel = F.melscale_fbanks(N_FFT // 2 + 1, 0.0, FS / 2, MELS, FS)
    return mel.double().numpy(), F.create_dct(CEPSTRA, MELS, "ortho").double().numpy()

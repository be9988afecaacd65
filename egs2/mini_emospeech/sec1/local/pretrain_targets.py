"""What the mini HuBERT learns to predict: for each of its frames, the cluster that the sound there belongs to.

Frame t stands for the samples from 320 t to 320 t + 400 at 16 kHz, as HuBERT's convolutions have it (50 per second).
Levels are left as they are: that loud and quiet sounds fall into different clusters is what makes a model of this
size hear how loud the speech is. Likewise pitch and tempo, which a log-mel spectrum of 25 ms shows poorly, get
clusters of their own.
"""

import numpy as np
import torch

SAMPLE_RATE, SHIFT, WINDOW = 16000, 320, 400
PITCH_WINDOW = 480  # samples at 8 kHz: 60 ms
PITCH_LAGS = (19, 178)  # samples at 8 kHz: 420 down to 45 Hz
TEMPO_FRAMES = 65  # 1.3 s


def count_frames(samples: int) -> int:
    """HuBERT's frames of a recording."""
    return max(0, (samples - WINDOW) // SHIFT + 1)


def log_mel(wave: torch.Tensor, bands: int = 40) -> torch.Tensor:
    """(samples,) -> (T, bands), natural logarithm of the energy in triangular bands on the mel scale."""
    frames = wave.unfold(0, WINDOW, SHIFT) * torch.hann_window(WINDOW)
    power = torch.fft.rfft(frames, 512).abs().square()  # (T, 257)
    return (power @ _mel_filters(bands) + 1e-6).log()


def _mel_filters(bands: int) -> torch.Tensor:
    """(257, bands)"""
    top = 2595 * np.log10(1 + 8000 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.linspace(0, 8000, 257)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.tensor(np.maximum(0, np.minimum(rise, fall)), dtype=torch.float32)


def pitch(wave: torch.Tensor) -> torch.Tensor:
    """(samples,) -> (T, 2): thirds of semitones above 150 Hz times how periodic the sound is; 4 times the latter.

    Both are 0 where the normalised autocorrelation of 60 ms around the middle of the frame stays below 0.4.
    """
    halved = torch.nn.functional.avg_pool1d(wave.view(1, 1, -1), 2).flatten()  # 8 kHz
    side = (PITCH_WINDOW - WINDOW // 2) // 2
    window = torch.hann_window(PITCH_WINDOW)
    frames = torch.nn.functional.pad(halved, (side, side)).unfold(0, PITCH_WINDOW, SHIFT // 2)  # (T, 480)
    correlation = _autocorrelation((frames - frames.mean(dim=1, keepdim=True)) * window) / _autocorrelation(window)
    first, last = PITCH_LAGS
    shorter_first = 1 - 0.1 * torch.linspace(0, 1, last - first)  # of two periods that fit equally well
    peak, lag = (correlation[:, first:last] * shorter_first).max(dim=1)
    voiced = (peak > 0.4).float() * peak.clamp(max=1)
    semitones = 12 * torch.log2(8000 / (lag + first) / 150)
    return torch.stack([voiced * semitones / 3, 4 * voiced], dim=1)


def _autocorrelation(frames: torch.Tensor) -> torch.Tensor:
    """(..., n) -> (..., lags), 1 at lag 0."""
    correlation = torch.fft.irfft(torch.fft.rfft(frames, 1024).abs().square())[..., : PITCH_LAGS[1]]
    return correlation / (correlation[..., :1] + 1e-6)


def tempo(mel: torch.Tensor) -> torch.Tensor:
    """(T, bands) -> (T, 16): how strongly the level goes up and down at 0.8 to 12.5 Hz, around each frame."""
    groups = torch.stack([group.mean(dim=1) for group in mel.chunk(4, dim=1)])  # (4, T)
    side = TEMPO_FRAMES // 2
    padded = torch.nn.functional.pad(groups, (side, side), mode="replicate")
    windows = padded.unfold(1, TEMPO_FRAMES, 1)  # (4, T, 65)
    windows = (windows - windows.mean(dim=2, keepdim=True)) * torch.hann_window(TEMPO_FRAMES)
    strength = torch.fft.rfft(windows).abs()[:, :, 1:17].mean(dim=0)  # (T, 16)
    return (strength / (strength.norm(dim=1, keepdim=True) + 1e-6)) * 4


def kmeans(points: torch.Tensor, clusters: int, rounds: int = 15) -> torch.Tensor:
    """Lloyd's algorithm from random points. (N, D) -> centres (clusters, D)."""
    centres = points[torch.randperm(len(points))[:clusters]].clone()
    for _ in range(rounds):
        nearest = assign(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=len(centres)).unsqueeze(1)
        anywhere = points[torch.randint(len(points), (len(centres),))]  # a new place for clusters that hold nothing
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), anywhere)
    return centres


def assign(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Index of the nearest centre of each point, (N,)."""
    return (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)

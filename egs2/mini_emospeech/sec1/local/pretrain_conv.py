"""The convolutions of the mini HuBERT: a bank of filters over whole frames, which begins as a Fourier transform."""

import math

import torch
from pretrain_targets import SAMPLE_RATE, SHIFT, WINDOW
from torch.nn import functional as F

KERNELS, STRIDES = (WINDOW, 1), (SHIFT, 1)  # of the two convolutions, in samples and in frames


def fourier_filters(count: int) -> torch.Tensor:
    """(count, WINDOW): windowed cosines and sines and their negatives, of which relu keeps one half each.

    Frequencies are 40 Hz apart up to where half of them lie, as the harmonics of a voice are told apart by, and further
    and further apart from there to 7600 Hz.
    """
    half = count // 8
    low = 60.0 + 40.0 * torch.arange(half)
    high = torch.logspace(math.log10(float(low[-1]) + 60), math.log10(7600.0), count // 4 - half)
    angles = 2 * math.pi * torch.cat([low, high])[:, None] * torch.arange(WINDOW) / SAMPLE_RATE
    waves = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(WINDOW, periodic=False)
    waves = waves / waves.norm(dim=1, keepdim=True)
    return torch.cat([waves, -waves])


def extract_features(extractor: torch.nn.Module, samples: torch.Tensor) -> torch.Tensor:
    """What `extractor`, the feature_extractor of a HuBERT with KERNELS and STRIDES, makes of samples.

    The same numbers as transformers', by matrix products: a convolution over frames that hardly overlap is one.

    Args:
        extractor: of the layer-norm kind, with biases and relu.
        samples: (B, S), WINDOW or more each.

    Returns:
        (B, T, C); transformers has (B, C, T).
    """
    rows = samples.unfold(1, WINDOW, SHIFT)
    for layer in extractor.conv_layers:
        rows = F.linear(rows, layer.conv.weight.flatten(1), layer.conv.bias)
        rows = F.relu(layer.layer_norm(rows))
    return rows

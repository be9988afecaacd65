"""Gaussian noise on features while training, for corpora so small that masks do not keep them from being memorised."""

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug

from espnet2_secap.errors import SecError
from espnet2_secap.values import Amount


class FeatsNoise(AbsSpecAug):
    """Adds noise to features; the standard deviations below are in the features' units, so normalise them.

    What is trained with noise is smoothed (Bishop, Neural Computation 1995): with a shift of standard deviation s,
    the captions of training utterances whose mean features are within about s of each other become equally likely.

    Args:
        shift: standard deviation of a random vector that is added to all frames of an utterance.
        jitter: standard deviation of noise drawn anew for each frame.
    """

    def __init__(self, shift: Amount = 0.0, jitter: Amount = 0.0):
        super().__init__()
        if shift < 0 or jitter < 0:
            raise SecError(f"specaug_conf: shift={shift}, jitter={jitter}: standard deviations are 0 or more")
        self.shift = shift
        self.jitter = jitter

    def forward(self, x: torch.Tensor, x_lengths: torch.Tensor | None = None):
        """(B, T, D) with lengths (B,) -> the same with noise; padding, which the lengths tell, is noisy as well."""
        if self.shift:
            x = x + self.shift * torch.randn_like(x[:, :1])
        if self.jitter:
            x = x + self.jitter * torch.randn_like(x)
        return x, x_lengths

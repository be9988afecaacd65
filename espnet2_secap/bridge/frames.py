"""Fewer frames: the mean of every few."""

import torch
from torch.nn import functional as F

from espnet2_secap.masks import lengths_to_mask


def average_frames(feats: torch.Tensor, lengths: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Average every `stride` frames; the last average is of what is left, and of real frames only.

    Args:
        feats: (B, T, D); what lies beyond `lengths` counts for nothing.
        lengths: (B,), in frames.
        stride: frames per average, 1 or more.

    Returns:
        averages (B, ceil(T / stride), D) and mask (B, ceil(T / stride)), true where there was a frame.
    """
    frames = lengths_to_mask(lengths, feats.size(1))
    feats = feats * frames[..., None]
    if stride == 1:
        return feats, frames
    padding = -feats.size(1) % stride
    feats = F.pad(feats, (0, 0, 0, padding)).unflatten(1, (-1, stride))  # (B, N, stride, D)
    count = F.pad(frames, (0, padding)).unflatten(1, (-1, stride)).sum(-1)  # (B, N)
    return feats.sum(2) / count.clamp(min=1)[..., None], count > 0

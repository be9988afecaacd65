"""Fewer frames: the mean of every few."""

import torch

from espnet2_secap.masks import lengths_to_mask, means_of_frames


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
    if stride == 1:
        return feats * frames[..., None], frames
    means, lengths = means_of_frames(feats, lengths, stride)
    return means, lengths_to_mask(lengths, means.size(1))

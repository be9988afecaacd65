"""Masks of padded batches."""

import torch


def lengths_to_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Lengths (B,) -> boolean mask (B, size), true = real."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Mask (B, L) -> which real position each is, from 0, (B, L)."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, L, D) over the real positions of mask (B, L): (B, D); of half-precision values in float32."""
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    weights = mask.to(values.dtype)[..., None]
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1)

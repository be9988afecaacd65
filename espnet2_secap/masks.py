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


def to_the_left(values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (B, L, D) and mask (B, L) with what is real on the right, in its order, and all padding on the left of it.

    Columns that are padding in every row are left out.
    """
    order = mask.long().argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    real = mask.any(0)
    return values.gather(1, order[..., None].expand(values.shape))[:, real], mask[:, real]

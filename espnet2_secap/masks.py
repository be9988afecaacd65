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


def means_of_frames(values: torch.Tensor, lengths: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Means over each `count` frames of (B, T, D), the last one over those that are left: (B, ceil(T / count), D).

    Args:
        values: padded frames.
        lengths: real frames, (B,); what is beyond them does not count.
        count: frames that become one.

    Returns:
        the means, zero beyond their lengths; their lengths (B,).
    """
    if count == 1:
        return values, lengths
    mask = lengths_to_mask(lengths, values.size(1))[..., None]  # (B, T, 1)
    over = -values.size(1) % count
    groups, real = (
        torch.nn.functional.pad(one, (0, 0, 0, over)).unflatten(1, (-1, count)).sum(2) for one in (values * mask, mask)
    )
    return groups / real.clamp(min=1), (lengths + count - 1).div(count, rounding_mode="floor")


def masked_statistics(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation (denominator n) of (B, L, D) over the real positions of mask (B, L): (B, 2 D).

    Statistics pooling (Snyder et al., ICASSP 2018, x-vectors). Below 0.001 a deviation counts as that: its gradient
    would not be finite at 0.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean[:, None].to(values.dtype)) ** 2, mask)
    return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], dim=1)


def to_the_left(values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (B, L, D) and mask (B, L) with what is real on the right, in its order, and all padding on the left of it.

    Columns that are padding in every row are left out.
    """
    order = mask.long().argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    real = mask.any(0)
    return values.gather(1, order[..., None].expand(values.shape))[:, real], mask[:, real]


def to_the_right(values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same with all padding on the right of what is real."""
    values, mask = to_the_left(values.flip(1), mask.flip(1))
    return values.flip(1), mask.flip(1)

"""What the decoder reads before the caption, made from a batch: a segment for each role."""

from collections.abc import Iterable, Mapping

import torch

from espnet2_secap.masks import lengths_to_mask
from espnet2_secap.text.template import Segment


def ids_segment(ids: torch.Tensor, lengths: torch.Tensor) -> Segment:
    """Padded ids (B, L) with lengths (B,) -> a segment."""
    return Segment(ids.clamp(min=0), lengths_to_mask(lengths, ids.size(1)))


def make_segments(
    roles: Iterable[str],
    batch: Mapping[str, torch.Tensor],
    vectors: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, Segment]:
    """A segment for each role: of `vectors` where it is there, else of the batch's ids.

    Args:
        roles: what the model makes, of text/template.py's ROLES.
        batch: ids (B, L) by role, and their lengths (B,) as `<role>_lengths`.
        vectors: role -> vectors (B, N, H) of the decoder's width and mask (B, N).
    """
    return {
        role: Segment(*vectors[role]) if role in vectors else ids_segment(batch[role], batch[f"{role}_lengths"])
        for role in roles
    }

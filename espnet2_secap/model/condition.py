"""What the decoder reads before the caption, made from a batch: a segment for each role."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.errors import SecError
from espnet2_secap.masks import lengths_to_mask
from espnet2_secap.text.roles import QUERIES, TEXT_QUERIES, has_bridge
from espnet2_secap.text.template import Segment


def padded_ids(ids: Mapping[str, Sequence[Sequence[int]]], device: str | torch.device) -> dict[str, torch.Tensor]:
    """Token ids of each utterance, by role -> (B, L), padded with -1 as in training, and `<role>_lengths` (B,)."""
    batch = {}
    for role, some in ids.items():
        tensors = [torch.tensor(one, dtype=torch.long) for one in some]
        batch[role] = torch.nn.utils.rnn.pad_sequence(tensors, True, -1).to(device)
        batch[f"{role}_lengths"] = torch.tensor([len(one) for one in some], device=device)
    return batch


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


def check_fits(condition: Sequence[str], bridge: AbsBridge | None, of_speech: Mapping[str, object]) -> None:
    """See that a model's other options can be met by what its decoder reads.

    Args:
        condition: what the decoder reads of an utterance.
        bridge: the built one, if there is any.
        of_speech: options of model_conf that work on the vectors of speech -> their values.

    Raises:
        SecError: an option that needs speech, or a bridge, where none is read; a bridge that takes no text.
    """
    said = f"model_conf condition [{', '.join(condition)}]"
    for name, value in of_speech.items():
        if value and name == "mixup" and tuple(condition) != (QUERIES,):
            raise SecError(f"{said}: mixup mixes speech and its captions alone; give mixup: 0, or condition: [queries]")
        if value and name == "freeze_bridge" and not has_bridge(condition):
            raise SecError(f"{said}: has no bridge that {name} could be of; give {name}: false")
        if value and name not in ("mixup", "freeze_bridge") and QUERIES not in condition:
            raise SecError(f"{said}: {name} works on speech, which is not read; leave it out, or add queries")
    if TEXT_QUERIES in condition and not bridge.has_text_branch:
        raise SecError(
            f"{said}: bridge {type(bridge).__name__} has no text branch, which text_queries goes through; use"
            " bridge: qformer"
        )


def freeze_speech_branch(bridge: AbsBridge) -> None:
    """Freeze what only speech goes through, of a bridge that is to make vectors of text alone."""
    for name, parameter in bridge.named_parameters():
        if any(part in name for part in bridge.speech_branch):
            parameter.requires_grad_(False)

"""Distillation: how far a student's distributions over the vocabulary are from its teacher's."""

from typing import Literal

import torch

from espnet2_secap.errors import SecError
from espnet2_secap.loss.precision import in_float32

LEAST = -1e4  # nats, below which a probability is 0 in float32
Direction = Literal["forward", "reverse", "jsd"]


@in_float32
def divergence(
    student: torch.Tensor,
    teacher: torch.Tensor,
    direction: Direction = "forward",
    temperature: float = 1.0,
    squared: bool = False,
    top_k: int = 0,
    beta: float = 0.5,
) -> torch.Tensor:
    """Divergence of two distributions at each position, in nats.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, Section 2 (temperature T, and T^2 by
    which gradients keep their scale); Agarwal et al., ICLR 2024, Section 2 (the generalised Jensen-Shannon divergence).

    Args:
        student, teacher: logits (..., V).
        direction: forward: KL(teacher || student); reverse: KL(student || teacher); jsd: beta KL(teacher || M) +
            (1 - beta) KL(student || M) with the mixture M = beta teacher + (1 - beta) student.
        temperature: T, by which both logits are divided.
        squared: multiply by T^2.
        top_k: the teacher's k most probable tokens stand for themselves, all others are one class; 0: all stand for
            themselves.
        beta: of jsd, between 0 and 1.

    Returns:
        (...) of values of at least 0. No gradient reaches the teacher.

    Raises:
        SecError: vocabularies of two sizes.
    """
    if student.size(-1) != teacher.size(-1):
        raise SecError(
            f"distillation: the teacher has {teacher.size(-1)} tokens, the student {student.size(-1)}; both must have"
            " the same vocabulary"
        )
    with torch.no_grad():
        taught, kept = _log_probs(teacher / temperature), None
        if 0 < top_k < taught.size(-1):
            kept = taught.topk(top_k, dim=-1).indices
            taught = _with_rest(taught, kept)
    learned = _log_probs(student / temperature)
    if kept is not None:
        learned = _with_rest(learned, kept)
    if direction == "forward":
        found = _kl(taught, learned)
    elif direction == "reverse":
        found = _kl(learned, taught)
    else:
        shares = taught.new_tensor([beta, 1 - beta]).log()
        mixture = torch.logaddexp(taught + shares[0], learned + shares[1])
        found = beta * _kl(taught, mixture) + (1 - beta) * _kl(learned, mixture)
    return found * temperature**2 if squared else found


def _kl(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL of two tensors of log-probabilities (..., V)."""
    return (one.exp() * (one - other)).sum(-1)


def _log_probs(logits: torch.Tensor) -> torch.Tensor:
    """Finite ones, also of tokens that an LM rules out: 0 times their difference is then 0."""
    return logits.log_softmax(-1).clamp(min=LEAST)


def _with_rest(log_probs: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (..., V) of the ids kept (..., k) and, in the last place, of all others together."""
    others = log_probs.scatter(-1, kept, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([log_probs.gather(-1, kept), others], dim=-1)

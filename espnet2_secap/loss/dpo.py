"""Preference losses on log-probabilities of a policy and of a frozen reference.

Source: DPO, Rafailov et al., "Direct Preference Optimization" (NeurIPS 2023), Eq. 7; its variants are named below.
Each takes the margin, (log pi(w) - log ref(w)) - (log pi(l) - log ref(l)), of a chosen caption w and a rejected one l.
"""

import torch
from torch.nn.functional import logsigmoid

from espnet2_secap.loss.precision import in_float32

LOSSES = ("sigmoid", "ipo", "hinge", "robust", "sigmoid_norm")
PER_TOKEN = ("ipo", "sigmoid_norm")  # their margin is that of log-ratios per token


def sigmoid_loss(margin: torch.Tensor, beta: float) -> torch.Tensor:
    """-log sigmoid(beta m), DPO's Eq. 7; of a margin per token it is the length-normalised loss.

    Length-normalised DPO: Lambert et al., "Tulu 3" (2024), Eq. 6, where the two log-ratios are divided by the lengths.
    """
    return -logsigmoid(beta * margin)


def hinge_loss(margin: torch.Tensor, beta: float) -> torch.Tensor:
    """max(0, 1 - beta m): SLiC (Zhao et al., 2023) on DPO's margin, as in Liu et al., RSO (ICLR 2024)."""
    return torch.relu(1 - beta * margin)


def ipo_loss(margin: torch.Tensor, beta: float) -> torch.Tensor:
    """(m - 1 / (2 beta))^2: Azar et al., "A General Theoretical Paradigm" (AISTATS 2024), Eq. 17, m per token."""
    return (margin - 1 / (2 * beta)) ** 2


def robust_loss(margin: torch.Tensor, beta: float, label_smoothing: float) -> torch.Tensor:
    """Unbiased where a share e of the pairs is the wrong way round: Chowdhury et al., "rDPO" (ICML 2024), Eq. 12.

    (-(1 - e) log sigmoid(beta m) + e log sigmoid(-beta m)) / (1 - 2 e); 0 <= e < 0.5.
    """
    right, wrong = logsigmoid(beta * margin), logsigmoid(-beta * margin)
    return (label_smoothing * wrong - (1 - label_smoothing) * right) / (1 - 2 * label_smoothing)


@in_float32
def preference_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    chosen_reference: torch.Tensor,
    rejected_reference: torch.Tensor,
    chosen_lengths: torch.Tensor,
    rejected_lengths: torch.Tensor,
    loss: str = "sigmoid",
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss of each pair, and the rewards of its captions.

    Args:
        chosen, rejected: (B,) log-probabilities of the captions in nats by the policy, summed over the tokens.
        chosen_reference, rejected_reference: (B,) the same by the reference.
        chosen_lengths, rejected_lengths: (B,) tokens, the end token included.
        loss: one of LOSSES.
        beta: above 0; the higher, the nearer the policy stays to the reference.
        label_smoothing: e of `robust_loss`; 0 with other losses.

    Returns:
        Losses (B,), and implicit rewards beta log(pi / ref) of chosen and rejected captions, (B,) without gradient.

    Raises:
        ValueError: shapes that differ, an unknown loss, beta or label_smoothing out of range.
    """
    values = (chosen, rejected, chosen_reference, rejected_reference, chosen_lengths, rejected_lengths)
    if chosen.dim() != 1 or any(one.shape != chosen.shape for one in values):
        raise ValueError(f"log-probabilities and lengths {[tuple(one.shape) for one in values]} must all be (B,)")
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    if not 0 <= label_smoothing < 0.5 or (label_smoothing and loss != "robust"):
        raise ValueError(f"label_smoothing must be at least 0 and below 0.5, and of robust only, got {label_smoothing}")
    ratios = chosen - chosen_reference, rejected - rejected_reference
    scores = ratios
    if loss in PER_TOKEN:
        scores = ratios[0] / chosen_lengths.clamp(min=1), ratios[1] / rejected_lengths.clamp(min=1)
    margin = scores[0] - scores[1]
    if loss == "robust":
        losses = robust_loss(margin, beta, label_smoothing)
    else:
        losses = {"hinge": hinge_loss, "ipo": ipo_loss}.get(loss, sigmoid_loss)(margin, beta)
    return losses, beta * ratios[0].detach(), beta * ratios[1].detach()

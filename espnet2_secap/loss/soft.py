"""Cross entropy with targets that are distributions and weights of the classes."""

import torch

from espnet2_secap.loss.precision import in_float32


@in_float32
def soft_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over rows i and classes c of -w_c t_ic log softmax(logits_i)_c, in nats, and the sum of w_c t_ic.

    Their ratio is the weighted mean that `torch.nn.functional.cross_entropy` gives for targets of one class each.

    Args:
        logits: (B, C).
        target: (B, C), each row a distribution, or zeros where nothing is known: such a row counts for nothing.
        weights: (C,), of the classes.
    """
    weighted = weights * target
    return -(weighted * logits.log_softmax(-1)).sum(), weighted.sum()

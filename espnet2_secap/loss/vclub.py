"""STMIL: mutual information between speech and transcription, bounded by vCLUB.

Source: SECap (AAAI 2024), Eq. 4; Cheng et al., "CLUB: A Contrastive Log-ratio Upper Bound of Mutual
Information" (ICML 2020), Eq. 12 and 15.
"""

import torch

from espnet2_secap.loss.precision import in_float32


@in_float32
def gaussian_log_likelihood(mean: torch.Tensor, log_var: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """log q(y | x) of a diagonal Gaussian, summed over the dimensions, without the constant log(2 pi) term.

    The constant is the same for every pair and so cancels in `vclub_bound`.

    Args:
        mean: (..., D) mean of q(. | x).
        log_var: (..., D) log-variance of q(. | x).
        y: (..., D) points of evaluation; the leading axes broadcast against those of `mean`.

    Returns:
        (...) log-likelihoods in nats.
    """
    return -0.5 * (((y - mean) ** 2) / log_var.exp() + log_var).sum(-1)


@in_float32
def vclub_bound(mean: torch.Tensor, log_var: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """vCLUB upper bound of I(x; y) (Eq. 4): 1/n^2 sum_ij [log q(y_i|x_i) - log q(y_j|x_i)].

    The squared distances to all y_j are computed from the first two moments of y, at a cost of O(n D) instead of
    O(n^2 D). This is exact, since sum_j (y_j - m)^2 = sum_j y_j^2 - 2 m sum_j y_j + n m^2.

    Args:
        mean: (n, D) mean of q(. | x_i).
        log_var: (n, D) log-variance of q(. | x_i).
        y: (n, D) y_i, the other half of pair i.

    Returns:
        The bound, a scalar in nats. It can be negative if q fits badly.
    """
    if mean.shape != y.shape or log_var.shape != y.shape:
        raise ValueError(f"mean {tuple(mean.shape)}, log_var {tuple(log_var.shape)} and y {tuple(y.shape)} must agree")
    precision = torch.exp(-log_var)
    own = (y - mean) ** 2
    # Centring keeps the moments small, so that the difference below loses no precision.
    centre = y.mean(0, keepdim=True)
    others = (y - centre).pow(2).mean(0, keepdim=True) + (centre - mean) ** 2
    return 0.5 * ((others - own) * precision).sum(-1).mean()

"""Mixup between neighbours: what lies between two similar utterances is said by either's caption."""

import torch


def nearest(points: torch.Tensor) -> torch.Tensor:
    """Of each of the points (B, D), B >= 2, the nearest other one by Euclidean distance: indices (B,)."""
    distances = torch.cdist(points, points)
    return distances.masked_fill(torch.eye(len(points), dtype=torch.bool, device=points.device), torch.inf).argmin(1)


def mix(vectors: torch.Tensor, partner: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """share_i v_i + (1 - share_i) v_partner(i) of vectors (B, N, H).

    Source: mixup (Zhang et al., ICLR 2018, Eq. 1) of hidden vectors (Verma et al., ICML 2019). Random partners say
    opposite things of an utterance between them, neighbours (as in SMOTE, Chawla et al., JAIR 2002) do not.
    """
    share = share[:, None, None].to(vectors.dtype)
    return share * vectors + (1 - share) * vectors[partner]


def draw_shares(alpha: float, size: int, device: torch.device) -> torch.Tensor:
    """Shares (B,) of Beta(alpha, alpha), drawn from PyTorch's generator."""
    return torch.distributions.Beta(alpha, alpha).sample((size,)).to(device)

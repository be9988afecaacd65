"""SCCL: speech-caption contrastive learning. Source: SECap (AAAI 2024), Eq. 5."""

import torch
from torch.nn import functional as F

from espnet2_secap.loss.precision import in_float32


@in_float32
def sccl_loss(
    speech: torch.Tensor,
    caption: torch.Tensor,
    category: torch.Tensor,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    margin: float = 0.0,
    reduction: str = "sum",
    center: bool = False,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Eq. 5: sum_i [ w1 (1 - S(e_i,d_i)) + w2 sum_j (1 - S(e_i,p_ij)) + w3 sum_j ReLU(S(e_i,u_ij) - m) ].

    S is the cosine; p_ij are the captions of the same category as i (its own left out), u_ij those of all others.
    Which captions these are is told by `category`, so a category may have any number of pairs in the batch.

    Args:
        speech: (n, D) speech embeddings e_i.
        caption: (n, D) caption embeddings, d_i in row i.
        category: (n,) integer emotion categories.
        weights: w1, w2, w3.
        margin: m; a caption of another category costs nothing below this cosine.
        reduction: "sum" is Eq. 5 to the letter; "mean" divides it by n, so that its size does not grow with the batch.
            The sums over j stay: with their means instead, the K - 1 captions that attract would outweigh the
            NK - K that repel, and all embeddings fall into one point.
        center: take the batch's mean off the speech embeddings and off the caption embeddings first (not in the
            paper). A Q-Former that starts at random gives nearly the same vector for everything; without the common
            part what differs is seen at once, and learning does not wait for hundreds of steps.

    Returns:
        The loss, and its three terms before weighting as {"own", "same", "other"}.
    """
    if speech.shape != caption.shape or category.shape != speech.shape[:1]:
        raise ValueError(
            f"speech {tuple(speech.shape)}, caption {tuple(caption.shape)} and category {tuple(category.shape)}"
            " must be (n, D), (n, D) and (n,)"
        )
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}")
    if center:
        speech, caption = speech - speech.mean(0), caption - caption.mean(0)
    similarity = F.normalize(speech, dim=-1) @ F.normalize(caption, dim=-1).T  # (n, n)
    same = category[:, None] == category[None, :]
    itself = torch.eye(len(category), dtype=torch.bool, device=category.device)
    distance = 1.0 - similarity
    own = distance.diagonal()
    positive, negative = same & ~itself, ~same
    alike = (distance * positive).sum(1)
    unlike = (F.relu(similarity - margin) * negative).sum(1)
    reduce = torch.sum if reduction == "sum" else torch.mean
    terms = {"own": reduce(own), "same": reduce(alike), "other": reduce(unlike)}
    w1, w2, w3 = weights
    return w1 * terms["own"] + w2 * terms["same"] + w3 * terms["other"], terms

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

    S is the cosine; p_ij are the other captions of the category of i, u_ij those of all other categories. They are
    found by `category`, so a category may have any number of pairs in the batch.

    Args:
        speech: (n, D) speech embeddings e_i.
        caption: (n, D) caption embeddings, d_i in row i.
        category: (n,) integer emotion categories.
        weights: w1, w2, w3.
        margin: m; captions of other categories do not contribute below this cosine.
        reduction: "sum" is exactly Eq. 5; "mean" divides it by n, so that it does not grow with the batch. The sums
            over j remain: with means over j the K - 1 attracting captions would outweigh the NK - K repelling ones,
            and all embeddings would collapse to one point.
        center: first subtract the batch mean from the speech embeddings and from the caption embeddings (not in the
            paper). A randomly initialised Q-Former outputs nearly the same vector for every utterance; without this
            common part the differences are visible at once, which saves hundreds of training steps.

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

"""Tokens of a caption that the decoder does not get to read while training."""

import torch


def drop_tokens(ids: torch.Tensor, probability: float, blank: int) -> torch.Tensor:
    """Token ids (B, L) with each replaced by `blank` with this probability, drawn from PyTorch's generator.

    Source: word dropout (Bowman et al., CoNLL 2016, Section 3), blank noising (Xie et al., ICLR 2017). What follows a
    blank must be predicted from something else: the speech.
    """
    return torch.where(torch.rand(ids.shape, device=ids.device) < probability, blank, ids)

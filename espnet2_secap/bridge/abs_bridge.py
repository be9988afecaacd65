"""What stands between the speech encoder and the decoder."""

from abc import ABC, abstractmethod

import torch


class AbsBridge(torch.nn.Module, ABC):
    """Turns speech features of any length into the vectors that the decoder reads.

    Shapes: B utterances, T frames, D features, N output vectors, H output width.

    Attributes:
        has_text_branch: whether `forward_text` is there, by which the first stage learns from text.
        text_branch: prefixes of the tensors that only text goes through; a second stage that reads no text does without
            them.
        speech_branch: parts of the names of the tensors that only speech goes through, where there is a text branch.
        num_vectors: N, where it is the same for all speech.
    """

    has_text_branch = False
    text_branch: tuple[str, ...] = ()
    speech_branch: tuple[str, ...] = ()
    num_vectors: int | None = None

    @abstractmethod
    def output_size(self) -> int:
        """H, the width of an output vector."""

    @abstractmethod
    def forward(self, feats: torch.Tensor, feats_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Speech features (B, T, D) with lengths (B,) in frames -> vectors (B, N, H) and mask (B, N), true = real."""

    def forward_text(self, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Text embeddings (B, L, text width) with mask (B, L) -> (B, L, H), through the same network.

        Only bridges that can learn from text (the Q-Former) have this: the first stage learns by it, and in the second
        it makes the T-Embedding that an LM reads.
        """
        raise NotImplementedError(f"{type(self).__name__} has no text branch")

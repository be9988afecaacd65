"""What writes the caption."""

from abc import ABC, abstractmethod

import torch


class AbsDecoder(torch.nn.Module, ABC):
    """Writes a caption from speech vectors and a prompt.

    Shapes: B utterances, N speech vectors, H decoder width, P prompt tokens, L caption tokens (EOS included).
    Masks are boolean, true = real; a position that is not real never influences one that is.
    """

    @abstractmethod
    def embedding_size(self) -> int:
        """H, the width that the speech vectors must have."""

    @abstractmethod
    def forward(
        self,
        speech: torch.Tensor,
        speech_mask: torch.Tensor,
        prompt: torch.Tensor,
        prompt_mask: torch.Tensor,
        caption: torch.Tensor,
        caption_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Teacher forcing.

        Args:
            speech: (B, N, H) vectors; speech_mask (B, N).
            prompt: (B, P) token ids; prompt_mask (B, P).
            caption: (B, L) token ids ending in EOS; caption_mask (B, L).

        Returns:
            (B, L) log-probabilities of the caption's tokens in nats, 0 where caption_mask is false.
        """

    @abstractmethod
    def generate(
        self,
        speech: torch.Tensor,
        speech_mask: torch.Tensor,
        prompt: torch.Tensor,
        prompt_mask: torch.Tensor,
        **options,
    ) -> tuple[list[list[list[int]]], list[list[float]]]:
        """Decoding. Returns, per utterance, the candidates' token ids (EOS cut off) and scores, best first."""

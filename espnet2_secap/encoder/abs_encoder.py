"""What turns speech into the features that the bridge reads."""

from abc import ABC, abstractmethod

import torch


class AbsEncoder(torch.nn.Module, ABC):
    """Speech encoder.

    Shapes: B utterances, S steps of the input, T frames, D values per frame.
    """

    @abstractmethod
    def output_size(self) -> int:
        """D, values per output frame."""

    @abstractmethod
    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a padded batch.

        Args:
            speech: waveforms of 16,000 samples per second in -1..1, (B, S), or stored features, (B, S, ...).
            speech_lengths: real steps of each utterance, in samples or frames, (B,).

        Returns:
            features (B, T, D) and their lengths in frames (B,). What an utterance gets does not depend on
            what else is in the batch; frames beyond its length are zero.
        """

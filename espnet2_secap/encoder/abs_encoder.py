"""What turns speech into the features that the bridge reads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch


class AbsEncoder(torch.nn.Module, ABC):
    """Speech encoder.

    Shapes: B utterances, S steps of the input, T frames, D values per frame.

    Attributes:
        sampling_rate: of the waveforms that it takes, in Hz; None: it takes stored features.
        frame_shift: samples from one frame to the next.
        min_samples: samples of the shortest utterance that gives a frame.
        padding_safe: whether an utterance gets the same features in a padded batch as alone.
        num_layers: layers side by side in the output.
        max_samples: samples that it reads of an utterance, from its start; None: all.
    """

    sampling_rate: int | None
    frame_shift: int
    min_samples: int = 1
    padding_safe: bool = False
    num_layers: int = 1
    max_samples: int | None = None

    @classmethod
    def rate_of(cls, conf: Mapping) -> int | None:
        """`sampling_rate` under this encoder_conf, as far as it can be told before anything is loaded."""
        rate = getattr(cls, "sampling_rate", None)
        return rate if isinstance(rate, int) else None

    @abstractmethod
    def output_size(self) -> int:
        """D, values per output frame."""

    def remark(self, feats: np.ndarray) -> str | None:
        """What a user should know of an utterance with these features (T, D), as "no voiced frame", if anything."""
        return None

    @abstractmethod
    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a padded batch.

        Args:
            speech: waveforms at `sampling_rate` in -1..1, (B, S), or stored features, (B, S, ...).
            speech_lengths: real steps of each utterance, in samples or frames, (B,).

        Returns:
            features (B, T, D) and their lengths in frames (B,). What an utterance gets does not depend on
            what else is in the batch; frames beyond its length are zero.
        """

"""Features that stage 3 has stored, and the learned mixture of an upstream's layers."""

from typing import Literal

import torch

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.masks import lengths_to_mask
from espnet2_secap.values import Count


class WeightedSum(torch.nn.Module):
    """Mixture of L layers with trained weights: softmax(w) . layers, all equal at the start (SUPERB)."""

    def __init__(self, num_layers: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(num_layers))

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        """Layers (B, T, L, D) -> their mixture (B, T, D)."""
        return torch.einsum("btld,l->btd", layers, self.weight.softmax(dim=0).to(layers.dtype))


class StoredEncoder(AbsEncoder):
    """Stored features, passed on as they are, or as the learned mixture of the layers they hold.

    Args:
        input_size: values per stored frame, L * D (in a shape file, the number behind the comma).
        num_layers: L, layers that are stored side by side (`num_layers` in the folder's config.json).
        layer: None passes all L * D values on; "weighted_sum" mixes the L layers into D values.

    Raises:
        SecError: an unknown `layer`, or an `input_size` that is no multiple of `num_layers`.
    """

    sampling_rate = None
    frame_shift = 1
    padding_safe = True
    from_data = ("input_size",)  # read from the training set and kept in config.yaml, where it is not given

    def __init__(self, input_size: Count, num_layers: Count = 1, layer: Literal["weighted_sum"] | None = None):
        super().__init__()
        if num_layers < 1 or input_size < 1 or input_size % num_layers:
            raise SecError(
                f"encoder: input_size {input_size} is no multiple of num_layers {num_layers}; "
                "take both from config.json beside feats.scp (input_size = num_layers * dim)"
            )
        if layer not in (None, "weighted_sum"):
            raise SecError(f"encoder: layer is {layer!r}, but stored features know null or weighted_sum only")
        self.input_size = input_size
        self.num_layers = num_layers
        self.mix = WeightedSum(num_layers) if layer == "weighted_sum" else None

    def output_size(self) -> int:
        """D after the mixture, L * D without one."""
        return self.input_size // self.num_layers if self.mix is not None else self.input_size

    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stored features (B, T, L * D), lengths (B,) in frames -> (B, T, output_size()), the same lengths."""
        if speech.dim() == 2:
            raise SecError(
                "encoder: this model reads stored features, and was given waveforms; give it audio through"
                " sec_caption or Speech2Caption, which compute the features"
            )
        if speech.dim() != 3 or speech.size(2) != self.input_size:
            raise SecError(
                f"encoder: the stored features have shape {tuple(speech.shape)}, but input_size is "
                f"{self.input_size}; correct encoder_conf, or run stage 3 again"
            )
        speech = speech[:, : int(speech_lengths.max())]
        if self.mix is not None:
            speech = self.mix(speech.unflatten(2, (self.num_layers, -1)))  # (B, T, L, D) -> (B, T, D)
        mask = lengths_to_mask(speech_lengths, speech.size(1))
        return speech.masked_fill(~mask[..., None], 0.0), speech_lengths

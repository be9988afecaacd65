"""Speech features from any upstream of S3PRL, in training or for stage 3."""

import torch

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.encoder.stored import WeightedSum
from espnet2_secap.encoder.upstream import FS, load_upstream
from espnet2_secap.encoder.waveforms import samples_of
from espnet2_secap.errors import SecError
from espnet2_secap.values import Natural, Place

LAYERS = ("last", "all", "weighted_sum")  # and the numbers


def check_layer(layer: int | str) -> None:
    """See that a value may name a layer of some upstream.

    Raises:
        SecError: it cannot.
    """
    if not (str(layer).isascii() and str(layer).isdigit()) and layer not in LAYERS:
        raise SecError(f"--layer {layer}: must be a number from 0, {', '.join(LAYERS[:-1])} or {LAYERS[-1]}")


class S3PRLEncoder(AbsEncoder):
    """A frozen upstream of S3PRL, and the choice of its layers.

    Args:
        upstream: name in S3PRL's hub: hf_hubert_custom, hf_wav2vec2_custom, fbank, fbank_no_cmvn, ...
        path: checkpoint of the upstream: for hf_*_custom a transformers folder or a hub name.
        layer: which of the layers 0 (input of the first transformer layer) to N (output of the last one):
            "last": layer N. For hf_*_custom exactly transformers' `last_hidden_state`, which in models with
                `do_stable_layer_norm` is the last layer's output after the encoder's final layer norm
                (in transformers 5, `hidden_states[-1]` is the value before that norm).
            an integer k from 0 to N: the output of layer k; k = N is the same as "last".
            "weighted_sum": softmax-weighted sum of all N + 1, the only thing trained here.
            "all": the N + 1 side by side, layer 0 first, for `StoredEncoder(layer="weighted_sum")`.
        upstream_args: further arguments for the entry in S3PRL's hub.

    The upstream runs in float32 outside autocast, so that features are the same in training and in stage 3.

    Raises:
        SecError: unknown upstream or layer, nothing to load at `path`.
    """

    sampling_rate = FS

    def __init__(
        self,
        upstream: str,
        path: Place | None = None,
        layer: Natural | str = "last",
        upstream_args: dict | None = None,
    ):
        super().__init__()
        check_layer(layer)  # before anything is loaded
        self.upstream = load_upstream(upstream, path, upstream_args)
        self.layer = layer
        self.layers = self._chosen(layer)
        self.mix = WeightedSum(len(self.layers)) if layer == "weighted_sum" else None

    def _chosen(self, layer: int | str) -> list[int]:
        sizes = self.upstream.sizes
        if layer == "last":
            return [len(sizes) - 1]
        if layer in ("all", "weighted_sum"):
            if len(set(sizes)) > 1:
                raise SecError(f"--layer {layer}: this upstream's layers have widths {sizes}; choose one layer")
            return list(range(len(sizes)))
        if int(layer) < len(sizes):
            return [int(layer)]
        raise SecError(
            f"--layer {layer}: this upstream has the layers 0 to {len(sizes) - 1}; "
            "give one of these numbers, last, all or weighted_sum"
        )

    @property
    def padding_safe(self) -> bool:
        """Whether the upstream may run on padded batches; if not, `forward` runs each length by itself."""
        return self.upstream.padding_safe

    @property
    def frame_shift(self) -> int:
        """Samples from one frame to the next."""
        return self.upstream.frame_shift

    @property
    def min_samples(self) -> int:
        """Samples of the shortest utterance that gives a frame."""
        return self.upstream.min_samples

    @property
    def num_layers(self) -> int:
        """L, layers side by side in the output: 1 but for "all"."""
        return len(self.layers) if self.layer == "all" else 1

    def output_size(self) -> int:
        """Values per frame: D, or L * D for "all"."""
        return self.upstream.sizes[self.layers[0]] * self.num_layers

    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (B, samples) at 16 kHz, lengths (B,) in samples -> (B, T, output_size()), frames (B,)."""
        samples = samples_of(speech, speech_lengths, self.min_samples, "the upstream needs")
        with torch.no_grad(), torch.autocast(speech.device.type, enabled=False):
            layers, lengths = self._run(speech.float(), samples)  # (B, T, L, D), (B,)
        feats = self.mix(layers) if self.mix is not None else layers.flatten(2)
        padded = torch.arange(feats.size(1), device=feats.device) >= lengths[:, None]  # (B, T)
        return feats.masked_fill(padded[..., None], 0.0), lengths

    def _run(self, speech: torch.Tensor, samples: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Layers (B, T, L, D) and lengths (B,) of waveforms (B, S); padded together only where it is safe."""
        wavs = [wav[:n] for wav, n in zip(speech, samples, strict=True)]
        if self.padding_safe or len(set(samples)) == 1:
            return self.upstream(wavs, self.layers)
        rows: dict[int, torch.Tensor] = {}
        for n in sorted(set(samples)):
            same = [i for i, m in enumerate(samples) if m == n]
            layers, _ = self.upstream([wavs[i] for i in same], self.layers)
            rows.update(zip(same, layers, strict=True))  # each (T, L, D), every frame of it real
        in_order = [rows[i] for i in range(len(wavs))]
        lengths = torch.tensor([len(row) for row in in_order], device=speech.device)
        return torch.nn.utils.rnn.pad_sequence(in_order, batch_first=True), lengths

"""Several encoders side by side, aligned in time."""

from collections.abc import Mapping

import numpy as np
import torch

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.masks import lengths_to_mask, means_of_frames

MOST_APART = 2  # frames by which encoders of one frame shift may differ: windows at the edges


class JoinedEncoder(AbsEncoder):
    """The features of several encoders in one vector per frame: D is the sum of theirs.

    The frames of each encoder become those of the one with the largest frame shift, by means over the frames within it,
    the last one over those that are left. Frame i of each begins i frame shifts after the first sample, but for a
    window's half; encoders differ in the frames that they have at the end. HuBERT has up to one less than `acoustic`,
    filterbanks up to two: what others have beyond the shortest is cut.

    Args:
        encoders: name -> encoder, at least two, of one sampling rate. In a configuration, name -> `encoder_conf`, with
            the key `encoder` where the name is not the encoder's own: {acoustic: {level: frame}, hubert: {encoder:
            s3prl, upstream: hf_hubert_custom, path: DIR}}. The columns are in the alphabetical order of the names.

    Raises:
        SecError: fewer than two; another sampling rate; frame shifts that do not divide the largest; layers side by
            side.
    """

    nested = {"encoders": "encoder"}  # argument -> kind of the parts that tasks/parts.py builds for it

    def __init__(self, encoders: dict):
        super().__init__()
        if len(encoders) < 2:
            raise SecError(f"encoder: joined takes two or more encoders, got {', '.join(encoders) or 'none'}")
        parts: Mapping[str, AbsEncoder] = {name: encoders[name] for name in sorted(encoders)}
        rates = {name: one.sampling_rate for name, one in parts.items()}
        if None in rates.values() or len(set(rates.values())) > 1:
            said = ", ".join(f"{name} {'stored features' if rate is None else rate}" for name, rate in rates.items())
            raise SecError(f"encoder: joined takes encoders of audio at one sampling rate, got {said}")
        self.sampling_rate = next(iter(rates.values()))
        self.frame_shift = max(one.frame_shift for one in parts.values())
        self.min_samples = max(one.min_samples for one in parts.values())
        self.padding_safe = all(one.padding_safe for one in parts.values())
        for name, one in parts.items():
            if self.frame_shift % one.frame_shift:
                raise SecError(
                    f"encoder: joined: the frame shift of {name}, {one.frame_shift} samples, does not divide the"
                    f" largest, {self.frame_shift}; set frame_shift where an encoder has it, or leave one out"
                )
            if one.num_layers > 1:
                raise SecError(
                    f"encoder: joined: {name} gives {one.num_layers} layers side by side, whose mixture cannot be"
                    " learned beside other features; choose one layer"
                )
        self.names = list(parts)
        self.parts = torch.nn.ModuleList(parts.values())

    def output_size(self) -> int:
        """D, the sum of the encoders'."""
        return sum(one.output_size() for one in self.parts)

    def remark(self, feats: np.ndarray) -> str | None:
        """Those of the encoders on their columns of (T, output_size())."""
        ends = np.cumsum([one.output_size() for one in self.parts])[:-1]
        pieces = np.split(feats, ends, axis=1)
        return "; ".join(filter(None, (one.remark(x) for one, x in zip(self.parts, pieces, strict=True)))) or None

    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (B, samples), lengths (B,) in samples -> (B, T, output_size()), frames (B,)."""
        found = []
        for one in self.parts:
            feats, lengths = one(speech, speech_lengths)  # (B, T of this one, D of this one)
            found.append(means_of_frames(feats, lengths, self.frame_shift // one.frame_shift))
        counts = torch.stack([lengths for _, lengths in found])  # (encoders, B)
        lengths = counts.amin(0)
        if int((counts.amax(0) - lengths).max()) > MOST_APART:
            frames = ", ".join(f"{name} {n}" for name, n in zip(self.names, counts.amax(1).tolist(), strict=True))
            raise SecError(f"encoder: joined: frames do not belong together ({frames}); one frame shift is wrong")
        feats = torch.cat([feats[:, : int(lengths.max())] for feats, _ in found], dim=2)
        return feats * lengths_to_mask(lengths, feats.size(1))[..., None], lengths

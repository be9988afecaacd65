"""What the encoders of acoustic descriptors share: values per frame, values per utterance, and both side by side."""

import importlib
from abc import abstractmethod
from types import ModuleType
from typing import Annotated

import numpy as np
import torch

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.encoder.waveforms import samples_of
from espnet2_secap.errors import SecError
from espnet2_secap.masks import lengths_to_mask, means_of_frames
from espnet2_secap.values import Range

FS = 16000  # Hz
HOP = 160  # samples from one frame of descriptors to the next: 10 ms
FrameShift = Annotated[int, Range(least=HOP, most=60 * FS)]


class DescriptorEncoder(AbsEncoder):
    """Encoder without trained weights that computes each utterance by itself, on the CPU.

    Of n samples there are ceil(floor(n / 160) / (frame_shift / 160)) frames. Values per frame are means over the frames
    of 10 ms within a frame of the output, the last one over those that are left; values per utterance are repeated at
    every frame, after the values per frame.

    Args:
        frames: whether the output has the values per frame.
        utterance: whether it has the values per utterance.
        frame_shift: samples from one frame of the output to the next, a multiple of 160.

    Attributes:
        package_name: the package that it needs.
        how_to_install: what a message says of that package, where it is missing.

    Raises:
        SecError: the package is missing; a frame shift that is no multiple of 160.
    """

    sampling_rate = FS
    padding_safe = True
    package_name: str
    how_to_install: str

    def __init__(self, frames: bool, utterance: bool, frame_shift: int):
        super().__init__()
        self.load_package()
        if frame_shift % HOP:
            raise SecError(
                f"encoder_conf: frame_shift {frame_shift}: must be a multiple of {HOP} samples (10 ms); give"
                f" {max(1, round(frame_shift / HOP)) * HOP}"
            )
        self.frames, self.utterance, self.frame_shift = frames, utterance, frame_shift

    @classmethod
    def load_package(cls) -> ModuleType:
        """The package.

        Raises:
            SecError: it is not installed.
        """
        try:
            return importlib.import_module(cls.package_name)
        except (ImportError, OSError) as err:  # OSError: a shared library is missing
            raise SecError(
                f"{cls.__name__}: the package {cls.package_name} cannot be imported ({' '.join(str(err).split())});"
                f" {cls.how_to_install}"
            ) from err

    @abstractmethod
    def frame_names(self) -> list[str]:
        """Names of the values per frame."""

    @abstractmethod
    def utterance_names(self) -> list[str]:
        """Names of the values per utterance."""

    @abstractmethod
    def describe(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a waveform (samples,) float32 in -1..1, the values (samples // 160, frame names) and (utterance names,).

        What is not part of the output may be left empty.
        """

    def names(self) -> list[str]:
        """Names of the output's columns."""
        return self.frame_names() * self.frames + self.utterance_names() * self.utterance

    def output_size(self) -> int:
        """D."""
        return len(self.names())

    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (B, samples) at 16 kHz, lengths (B,) in samples -> (B, T, output_size()) float32, frames (B,)."""
        samples = samples_of(speech, speech_lengths, self.min_samples, "its descriptors need")
        waves = speech.detach().float().cpu().numpy()
        found = [self.describe(wave[:n]) for wave, n in zip(waves, samples, strict=True)]
        lengths = torch.tensor([n // HOP for n in samples])
        parts = []
        if self.frames:
            rows = [torch.from_numpy(frames) for frames, _ in found]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (B, T of 10 ms, D of frames)
            feats, lengths = means_of_frames(padded, lengths, self.frame_shift // HOP)
            parts.append(feats)
        else:
            lengths = -(-lengths // (self.frame_shift // HOP))
        if self.utterance:
            vectors = torch.from_numpy(np.stack([vector for _, vector in found]))  # (B, D of utterances)
            parts.append(vectors[:, None].expand(-1, int(lengths.max()), -1))
        feats = torch.cat(parts, dim=2).float()
        feats = feats * lengths_to_mask(lengths, feats.size(1))[..., None]
        return feats.to(speech.device), lengths.to(speech.device)

"""What all models share: from speech to the bridge's output, and what a model declares to the task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.masks import lengths_to_mask


@dataclass(frozen=True)
class Need:
    """A file of the data directory that a model needs, the weight of model_conf that switches the need off, and the
    program that makes the file, where stage 2 does not."""

    file: str
    switch: str | None = None
    made_by: str | None = None


class AbsSECModel(AbsESPnetModel):
    """Encoder -> normalisation -> SpecAugment -> bridge. A model declares what the task is to give it:

    Attributes:
        parts: kinds of parts that it is built from (tasks/parts.py), in the order in which they are built.
        texts: name in a batch -> the part whose tokenizer turns it into ids.
        measures: statistics of a batch, by which the best epoch can be told; any name is taken if there are none. `x_*`
            stands for all names that begin like this.
        measured_with: measure -> the key of model_conf without which it is not measured.
        makes: roles of the segments that the decoder reads; with any, the model is given a template.
            `parts`, `texts` and `makes` are those of the defaults; `parts_of` and so on tell those of a model_conf.
        hears: whether speech reaches the model; where it does not, none is read.

    Args:
        encoder, bridge: the built parts.
        normalize: of the encoder's output, such as ESPnet's global_mvn; none if None.
        specaug: masks features while training; none if None.
    """

    parts: ClassVar[tuple[str, ...]] = ("encoder", "bridge")
    texts: ClassVar[Mapping[str, str]] = {}
    makes: ClassVar[tuple[str, ...]] = ()
    measures: ClassVar[tuple[str, ...]] = ()
    measured_with: ClassVar[Mapping[str, str]] = {}
    hears: bool = True

    def __init__(
        self,
        encoder: AbsEncoder | None,
        bridge: AbsBridge | None,
        normalize: AbsNormalize | None = None,
        specaug: AbsSpecAug | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.normalize = normalize
        self.specaug = specaug
        self.bridge = bridge
        self.reference: list[AbsSECModel] = []  # a list: a module in it is none of ours, in no state and no optimiser

    @classmethod
    def needs(cls, conf: Mapping) -> dict[str, Need]:
        """Data name -> what it is needed for, under this model_conf; of training and of validation sets alike."""
        return {}

    @classmethod
    def parts_of(cls, conf: Mapping) -> tuple[str, ...]:
        """`parts` under this model_conf."""
        return cls.parts

    @classmethod
    def texts_of(cls, conf: Mapping) -> Mapping[str, str]:
        """`texts` under this model_conf."""
        return cls.texts

    @classmethod
    def makes_of(cls, conf: Mapping) -> tuple[str, ...]:
        """`makes` under this model_conf."""
        return cls.makes

    def parameter_groups(self) -> list[dict]:
        """Groups for the optimiser: parameters, and options of their own where they differ from optim_conf."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def remark(self, stats: Mapping[str, float]) -> str:
        """What a user should be told of an epoch's statistics in validation, once in a training; "" if nothing."""
        return ""

    def set_reference(self, reference: "AbsSECModel") -> None:
        """Keep a frozen model to compare with; it is not part of checkpoints.

        Raises:
            ValueError: this model compares with none.
        """
        raise ValueError(f"--reference_model: {type(self).__name__} compares itself with no reference; leave it out")

    def q_embedding(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Speech as the encoder takes it, lengths (B,) -> Q-Embedding (B, N, H) and mask (B, N)."""
        feats, lengths = self.encoder(speech, speech_lengths)
        if self.normalize is not None:
            feats, lengths = self.normalize(feats, lengths)
        if self.specaug is not None and self.training:  # a masked value is 0: the mean, where it is normalised
            feats, lengths = self.specaug(feats, lengths)
        return self.bridge(feats, lengths)

    def text_embedding(self, ids: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (B, L) of the text encoder, lengths (B,) -> C- or T-Embedding (B, L, H) and mask (B, L)."""
        mask = lengths_to_mask(lengths, ids.size(1))
        return self.bridge.forward_text(self.text_encoder(ids.clamp(min=0), mask), mask), mask

    def collect_feats(self, **batch) -> dict[str, torch.Tensor]:
        """Nothing to collect: stage 4 reads the lengths from utt2num_frames or utt2num_samples."""
        return {}

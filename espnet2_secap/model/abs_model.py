"""What both training stages share: from speech to the bridge's output."""

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.encoder.abs_encoder import AbsEncoder


class AbsSECModel(AbsESPnetModel):
    """Encoder -> normalisation -> SpecAugment -> bridge.

    Args:
        encoder, bridge: the built parts.
        normalize: of the encoder's output, such as ESPnet's global_mvn; none if None.
        specaug: masks features while training; none if None.
    """

    def __init__(
        self,
        encoder: AbsEncoder,
        bridge: AbsBridge,
        normalize: AbsNormalize | None = None,
        specaug: AbsSpecAug | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.normalize = normalize
        self.specaug = specaug
        self.bridge = bridge

    def q_embedding(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Speech as the encoder takes it, lengths (B,) -> Q-Embedding (B, N, H) and mask (B, N)."""
        feats, lengths = self.encoder(speech, speech_lengths)
        if self.normalize is not None:
            feats, lengths = self.normalize(feats, lengths)
        if self.specaug is not None and self.training:  # a masked value is 0: the mean, where it is normalised
            feats, lengths = self.specaug(feats, lengths)
        return self.bridge(feats, lengths)

    def collect_feats(self, **batch) -> dict[str, torch.Tensor]:
        """Nothing to collect: stage 4 reads the lengths from utt2num_frames or utt2num_samples."""
        return {}

"""Second stage: captioning by teacher forcing (SECap, Eq. 7)."""

from collections.abc import Mapping

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.torch_utils.device_funcs import force_gatherable

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.model.abs_model import AbsSECModel, Need
from espnet2_secap.model.checkpoint import leave_out_frozen
from espnet2_secap.model.condition import ids_segment, make_segments
from espnet2_secap.text.template import Segment, Template


class CaptionModel(AbsSECModel):
    """Frozen encoder -> bridge -> linear projection -> frozen decoder.

    Args:
        encoder, bridge, decoder: the built parts.
        template: the order of what the decoder reads.
        freeze_bridge: train the projection only (SECap, Table 4, last row).
        normalize, specaug: see AbsSECModel.
    """

    parts = ("encoder", "decoder", "bridge")
    texts = {"instruction": "decoder", "caption": "decoder"}
    makes = ("queries", "instruction")
    measures = ("loss", "ppl", "reference_loss")

    def __init__(
        self,
        encoder: AbsEncoder,
        bridge: AbsBridge,
        decoder: AbsDecoder,
        template: Template,
        freeze_bridge: bool = False,
        normalize: AbsNormalize | None = None,
        specaug: AbsSpecAug | None = None,
    ):
        super().__init__(encoder, bridge, normalize, specaug)
        self.projection = torch.nn.Linear(bridge.output_size(), decoder.embedding_size())
        self.decoder = decoder
        self.template = template
        self.freeze_bridge = freeze_bridge
        if freeze_bridge:
            bridge.requires_grad_(False)
        leave_out_frozen(self)

    @classmethod
    def needs(cls, conf: Mapping) -> dict[str, Need]:
        """Captions."""
        return {"caption": Need("captions")}

    def train(self, mode: bool = True) -> "CaptionModel":
        """A frozen bridge stays in evaluation mode."""
        super().train(mode)
        if self.freeze_bridge:
            self.bridge.eval()
        return self

    def set_reference(self, reference: AbsSECModel) -> None:
        """In validation, `reference_loss` is the loss of this model on the same batch."""
        self.reference = [reference.requires_grad_(False).eval()]

    def embed_speech(self, speech: torch.Tensor, speech_lengths: torch.Tensor):
        """Speech as the encoder takes it -> L-Embedding (B, N, H) and mask (B, N)."""
        vectors, mask = self.q_embedding(speech, speech_lengths)
        return self.projection(vectors), mask

    def segments(self, speech: torch.Tensor, speech_lengths: torch.Tensor, **batch) -> list[Segment]:
        """What the decoder reads before the caption; `batch` has `instruction` (B, P) and its lengths."""
        vectors = {"queries": self.embed_speech(speech, speech_lengths)}
        return self.template.arrange(make_segments(self.makes, batch, vectors))

    def caption_loss(self, caption: torch.Tensor, caption_lengths: torch.Tensor, **batch):
        """Mean loss per token in nats, and the number of tokens; arguments as in `forward`."""
        target = ids_segment(caption, caption_lengths)
        tokens, segments = target.mask.sum(), self.segments(**batch)
        self.decoder.check_length([*segments, target])
        return -self.decoder.log_probs(segments, target).sum() / tokens, tokens

    def forward(self, **batch):
        """Cross entropy of every caption token and the end token.

        Args:
            speech: (B, samples) or (B, T, D), with speech_lengths (B,).
            instruction: (B, P) token ids, with instruction_lengths (B,).
            caption: (B, L) token ids with the end token, with caption_lengths (B,).

        Returns:
            Mean loss per token in nats, statistics, and the number of tokens as weight: averages over batches and
            processes are then means over tokens, whatever the batching.
        """
        loss, tokens = self.caption_loss(**batch)
        stats = {"loss": loss.detach(), "ppl": loss.detach().exp()}
        for reference in self.reference if not self.training else ():
            with torch.no_grad():
                stats["reference_loss"] = reference.to(loss.device).caption_loss(**batch)[0]
        return force_gatherable((loss, stats, tokens.to(loss.dtype)), loss.device)

    @torch.no_grad()
    def generate(self, options: DecodingOptions, **batch):
        """Captions as token ids, see `AbsDecoder.generate`; the batch is that of `segments`."""
        segments = self.segments(**batch)
        self.decoder.check_length(segments, options.max_length)
        return self.decoder.generate(segments, options, self.template.ends)

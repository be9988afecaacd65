"""Second stage: captioning by teacher forcing (SECap, Eq. 7)."""

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.torch_utils.device_funcs import force_gatherable

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.masks import lengths_to_mask
from espnet2_secap.model.abs_model import AbsSECModel
from espnet2_secap.model.checkpoint import leave_out_frozen


class CaptionModel(AbsSECModel):
    """Frozen encoder -> bridge -> linear projection -> frozen decoder.

    Args:
        encoder, bridge, decoder: the built parts.
        freeze_bridge: train the projection only (SECap, Table 4, last row).
        normalize, specaug: see AbsSECModel.
    """

    def __init__(
        self,
        encoder: AbsEncoder,
        bridge: AbsBridge,
        decoder: AbsDecoder,
        freeze_bridge: bool = False,
        normalize: AbsNormalize | None = None,
        specaug: AbsSpecAug | None = None,
    ):
        super().__init__(encoder, bridge, normalize, specaug)
        self.projection = torch.nn.Linear(bridge.output_size(), decoder.embedding_size())
        self.decoder = decoder
        self.freeze_bridge = freeze_bridge
        if freeze_bridge:
            bridge.requires_grad_(False)
        leave_out_frozen(self)

    def train(self, mode: bool = True) -> "CaptionModel":
        """A frozen bridge stays in evaluation mode."""
        super().train(mode)
        if self.freeze_bridge:
            self.bridge.eval()
        return self

    def embed_speech(self, speech: torch.Tensor, speech_lengths: torch.Tensor):
        """Speech as the encoder takes it -> L-Embedding (B, N, H) and mask (B, N)."""
        vectors, mask = self.q_embedding(speech, speech_lengths)
        return self.projection(vectors), mask

    def forward(self, speech, speech_lengths, prompt, prompt_lengths, caption, caption_lengths, **kwargs):
        """Cross entropy of every caption token and EOS.

        Args:
            speech: (B, samples) or (B, T, D), with speech_lengths (B,).
            prompt: (B, P) token ids, with prompt_lengths (B,).
            caption: (B, L) token ids ending in EOS, with caption_lengths (B,).

        Returns:
            Mean loss per token in nats, statistics, and the number of tokens as weight: averages over batches and
            processes are then means over tokens, whatever the batching.
        """
        vectors, mask = self.embed_speech(speech, speech_lengths)
        caption_mask = lengths_to_mask(caption_lengths, caption.size(1))
        log_probs = self.decoder(
            vectors, mask, prompt, lengths_to_mask(prompt_lengths, prompt.size(1)), caption, caption_mask
        )
        tokens = caption_mask.sum()
        loss = -log_probs.sum() / tokens
        stats = {"loss": loss.detach(), "ppl": loss.detach().exp()}
        return force_gatherable((loss, stats, tokens.to(loss.dtype)), loss.device)

    @torch.no_grad()
    def generate(self, speech, speech_lengths, prompt, prompt_lengths, **options):
        """Captions as token ids; arguments as in `forward` and `AbsDecoder.generate`."""
        vectors, mask = self.embed_speech(speech, speech_lengths)
        prompt_mask = lengths_to_mask(prompt_lengths, prompt.size(1))
        return self.decoder.generate(vectors, mask, prompt, prompt_mask, **options)

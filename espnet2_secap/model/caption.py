"""Second stage: captioning by teacher forcing (SECap, Eq. 7)."""

from collections.abc import Mapping, Sequence

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.torch_utils.device_funcs import force_gatherable

from espnet2_secap.augment.mixup import draw_shares, mix, nearest
from espnet2_secap.augment.tokens import drop_tokens
from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.masks import masked_mean
from espnet2_secap.model.abs_model import AbsSECModel, Need
from espnet2_secap.model.attributes import AttributeHead, Counts
from espnet2_secap.model.checkpoint import leave_out_frozen
from espnet2_secap.model.condition import check_fits, freeze_speech_branch, ids_segment, make_segments
from espnet2_secap.text.roles import (
    CLUES,
    DEFAULT,
    OF_TEXT,
    QUERIES,
    TEXT_QUERIES,
    checked_condition,
    condition_of,
    has_bridge,
)
from espnet2_secap.text.template import Segment, Template
from espnet2_secap.text.text_encoder import AbsTextEncoder
from espnet2_secap.values import Amount, Dropout, Place, Share

Vectors = Mapping[str, Sequence[torch.Tensor]]  # role -> vectors (B, N, H) of the bridge and mask (B, N)


class CaptionModel(AbsSECModel):
    """What an utterance is read as -> linear projections -> frozen decoder.

    Speech: frozen encoder -> bridge (Q-Embedding) -> `projection`. Transcription: as tokens of the decoder, or frozen
    text encoder -> the bridge's text branch (T-Embedding) -> `text_projection`. SECap, Table 2: #6 is [queries],
    #2 [transcript], #3 [text_queries], #4 [transcript, queries], #5 [text_queries, queries].

    Args:
        encoder, bridge, decoder: the built parts; without queries and text_queries neither encoder nor bridge.
        template: the order of what the decoder reads.
        freeze_bridge: train the projections only (SECap, Table 4, last row).
        attributes_weight: weight of a second task's loss: to tell from the mean Q-Embedding which emotion, rate, ...
            the captions name (model/attributes.py); 0: no such task.
        attributes_words: words file that says so, or a language of the package; read in training only.
        attributes_only: the attributes of the words file that are predicted; all if empty.
        attributes_balanced: weight categories inversely to how often training captions name them.
        attributes_prompt: the decoder reads, behind the queries, one vector for each attribute: the expectation of its
            categories' embeddings under the prediction.
        listening: measure in validation how much the speech helps, `shuffled_loss` and `listening`; see `forward`.
        caption_dropout: in training, probability with which a caption's token is not read by the decoder, which reads
            the tokenizer's unknown token (the end token, if there is none) in its place; see augment/tokens.py.
        mixup: alpha; in training, the Q-Embedding of each utterance is mixed with that of its nearest neighbour in the
            batch in shares of Beta(alpha, alpha), and the losses of both captions in the same shares; 0: no mixing.
        label_smoothing: in training, share of the uniform distribution in what is to be predicted.
        condition: what the decoder reads of an utterance, in this order: queries (speech through the bridge),
            transcript (the transcription as tokens), text_queries (the transcription through the text encoder and the
            bridge), clues (words that name the emotion, ..., as tokens; see text/clues.py). What is not read is
            neither built nor trained, but for the encoder beside text_queries: its width is one of the bridge's sizes.
        clues_grammar: what a clue is: a language of the package (zh, en, ja), or a JSON file that extends one.
        clues_words: words file whose categories are clues; that of the grammar's language if none.
        clues_dropout: share of utterances that are read without clues, in training and validation, so that the model
            can do without.
        attributes: of the second task, filled in by the task: attribute -> category -> count in training.
        text_encoder: of text_queries; the first stage's.
        normalize, specaug: see AbsSECModel.

    Raises:
        SecError: a condition that is wrong, or that other options or the bridge do not fit.
    """

    parts = ("encoder", "decoder", "bridge")
    texts = {"instruction": "decoder", "caption": "decoder"}
    makes = ("queries", "instruction")
    measures = (
        "loss", "ppl", "reference_loss", "shuffled_loss", "listening", "attributes_loss", "accuracy", "accuracy_*"
    )  # fmt: skip
    measured_with = {"shuffled_loss": "listening", "listening": "listening"} | dict.fromkeys(
        ("attributes_loss", "accuracy", "accuracy_*"), "attributes_weight"
    )

    def __init__(
        self,
        encoder: AbsEncoder | None,
        bridge: AbsBridge | None,
        decoder: AbsDecoder,
        template: Template,
        freeze_bridge: bool = False,
        attributes_weight: Amount = 0.0,
        attributes_words: Place = "zh",
        attributes_only: list[str] = (),
        attributes_balanced: bool = False,
        attributes_prompt: bool = False,
        listening: bool = False,
        caption_dropout: Dropout = 0.0,
        label_smoothing: Dropout = 0.0,
        mixup: Amount = 0.0,
        condition: list[str] = DEFAULT,
        clues_grammar: Place = "zh",
        clues_words: Place | None = None,
        clues_dropout: Share = 0.0,
        attributes: Counts | None = None,
        text_encoder: AbsTextEncoder | None = None,
        normalize: AbsNormalize | None = None,
        specaug: AbsSpecAug | None = None,
    ):
        super().__init__(encoder, bridge, normalize, specaug)
        self.condition = checked_condition(condition)
        of_speech = {"freeze_bridge": freeze_bridge, "mixup": mixup, "listening": listening}
        check_fits(self.condition, bridge, of_speech | {"attributes_weight": attributes_weight})
        self.hears = QUERIES in self.condition
        if self.hears:
            self.projection = torch.nn.Linear(bridge.output_size(), decoder.embedding_size())
        self.text_encoder: AbsTextEncoder | None = None
        if TEXT_QUERIES in self.condition:
            self.text_encoder = text_encoder
            self.text_projection = torch.nn.Linear(bridge.output_size(), decoder.embedding_size())
            if not self.hears:
                encoder.requires_grad_(False)
                freeze_speech_branch(bridge)
        self.decoder = decoder
        self.template = template
        self.freeze_bridge = freeze_bridge
        self.listening = listening
        self.caption_dropout = caption_dropout
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        if clues_dropout and CLUES not in self.condition:
            raise SecError(
                f"model_conf: clues_dropout: the decoder reads no clues (condition {', '.join(self.condition)}); give"
                " 0, or add clues to the condition"
            )
        if mixup and bridge.num_vectors is None:
            raise SecError(
                "model_conf: mixup mixes vectors one by one, so the bridge must give the same number for all"
                " speech; use bridge: qformer, or mixup: 0"
            )
        self.attributes_weight = attributes_weight
        self.attributes_prompt = attributes_prompt
        self.attributes: AttributeHead | None = None
        if attributes_weight:
            if not attributes:
                raise SecError("model_conf: attributes_weight needs training captions, whose words are the classes")
            width = decoder.embedding_size() if attributes_prompt else None
            self.attributes = AttributeHead(attributes, bridge.output_size(), attributes_balanced, width)
        elif attributes_prompt or attributes_balanced:
            raise SecError("model_conf: attributes_prompt and attributes_balanced need attributes_weight above 0")
        for part in self._frozen():
            part.requires_grad_(False)
        leave_out_frozen(self)

    @classmethod
    def needs(cls, conf: Mapping) -> dict[str, Need]:
        """Captions; and transcriptions, where the condition reads them."""
        reads = any(one in OF_TEXT for one in condition_of(conf))
        return {"caption": Need("captions")} | ({"text": Need("text")} if reads else {})

    @classmethod
    def parts_of(cls, conf: Mapping) -> tuple[str, ...]:
        """Only what the condition needs."""
        condition = condition_of(conf)
        texts = ("text_encoder",) if TEXT_QUERIES in condition else ()
        return ("encoder", *texts, "decoder", "bridge") if has_bridge(condition) else ("decoder",)

    @classmethod
    def texts_of(cls, conf: Mapping) -> Mapping[str, str]:
        """With the roles that the condition makes of the transcription, and the clues."""
        roles = [role for role in condition_of(conf) if role in (*OF_TEXT, CLUES)]
        return cls.texts | {role: "text_encoder" if role == TEXT_QUERIES else "decoder" for role in roles}

    @classmethod
    def makes_of(cls, conf: Mapping) -> tuple[str, ...]:
        """The condition in its order, and the instruction."""
        return (*condition_of(conf), "instruction")

    def _frozen(self) -> list[torch.nn.Module]:
        """What freeze_bridge freezes."""
        parts = (self.bridge, self.text_encoder) if self.freeze_bridge else ()
        return [part for part in parts if part is not None]

    def train(self, mode: bool = True) -> "CaptionModel":
        """A frozen bridge stays in evaluation mode."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def set_reference(self, reference: AbsSECModel) -> None:
        """In validation, `reference_loss` is the loss of this model on the same batch."""
        more = [one for one in getattr(reference, "condition", ()) if one not in self.condition]
        if more:
            raise SecError(
                f"--reference_model: reads {', '.join(more)}, this model only {', '.join(self.condition)}; give one"
                " whose model_conf condition has no more"
            )
        self.reference = [reference.requires_grad_(False).eval()]

    def segments(
        self,
        speech: torch.Tensor | None = None,
        speech_lengths: torch.Tensor | None = None,
        embeddings: Vectors | None = None,
        **batch,
    ) -> list[Segment]:
        """What the decoder reads before the caption; arguments as in `forward`, the caption apart.

        Args:
            embeddings: what `embeddings` gave of the same batch, if it was asked before.
        """
        batch |= {"speech": speech, "speech_lengths": speech_lengths}
        return self._segments(self.embeddings(batch) if embeddings is None else embeddings, batch)

    def caption_loss(self, **batch):
        """Mean loss per token in nats, and the number of tokens; arguments as in `forward`."""
        return self._caption_loss(self.embeddings(batch), batch)

    def embeddings(self, batch: Mapping[str, torch.Tensor]) -> dict[str, Sequence[torch.Tensor]]:
        """Q- and T-Embedding (B, N, H) with masks (B, N), by role, as far as the decoder reads them."""
        made = {}
        if self.hears:
            made[QUERIES] = self.q_embedding(batch["speech"], batch["speech_lengths"])
        if self.text_encoder is not None:
            made[TEXT_QUERIES] = self.text_embedding(batch[TEXT_QUERIES], batch[f"{TEXT_QUERIES}_lengths"])
        return made

    def forward(self, **batch):
        """Cross entropy of every caption token and the end token.

        Args:
            speech: (B, samples) or (B, T, D), with speech_lengths (B,); not looked at without queries.
            transcript: (B, L) token ids of the decoder, with transcript_lengths (B,), 0 where nothing is said.
            text_queries: (B, L) token ids of the text encoder, with text_queries_lengths (B,).
            clues: (B, L) token ids of the decoder, with clues_lengths (B,), 0 where there are none.
            instruction: (B, P) token ids, with instruction_lengths (B,).
            caption: (B, L) token ids with the end token, with caption_lengths (B,).
            attributes: (B, C) targets of the second task, where there is one.

        Returns:
            Mean loss per token in nats, with the second task's; statistics, and the number of tokens as weight:
            averages over batches and processes are then means over tokens, whatever the batching. `loss` is that of
            the captions alone. In validation, `shuffled_loss` is the loss with the speech of the next utterance of the
            batch, and `listening` what it is more than the loss of the same captions with their own; NaN in a batch of
            one.
        """
        embedding = self.embeddings(batch)
        loss, tokens, total, more = self._to_minimise(embedding, batch)
        stats = {"loss": loss.detach(), "ppl": loss.detach().exp()} | more
        for reference in self.reference if not self.training else ():
            with torch.no_grad():
                stats["reference_loss"] = reference.to(loss.device).caption_loss(**batch)[0]
        if self.listening and not self.training:
            shuffled = torch.full_like(stats["loss"], torch.nan)
            if len(batch["caption"]) > 1:
                with torch.no_grad():
                    others = {QUERIES: [part.roll(1, 0) for part in embedding[QUERIES]]}
                    shuffled = self._caption_loss(embedding | others, batch)[0]
            stats |= {"shuffled_loss": shuffled, "listening": shuffled - stats["loss"]}
        if self.attributes is not None:
            attributes_loss, more = self.attributes.loss(self._attributes(embedding[QUERIES]), batch["attributes"])
            total = total + self.attributes_weight * attributes_loss
            stats |= more
        return force_gatherable((total, stats, tokens.to(loss.dtype)), loss.device)

    def _to_minimise(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]):
        """Of the captions: mean loss per token, number of tokens; what is to be minimised, and further statistics."""
        mixed = self.training and self.mixup and len(batch["caption"]) > 1
        loss, tokens = (self._mixed_loss if mixed else self._caption_loss)(embedding, batch)
        return loss, tokens, loss, {}

    def _attributes(self, embedding: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.attributes(masked_mean(*embedding))

    def _segments(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]) -> list[Segment]:
        """Of what `embeddings` gave: the projections (the L-Embedding), among what else is read."""
        made = {}
        if self.hears:
            vectors, mask = self.projection(embedding[QUERIES][0]), embedding[QUERIES][1]
            if self.attributes_prompt:
                more = self.attributes.prompt(self._attributes(embedding[QUERIES])).to(vectors.dtype)
                vectors = torch.cat([vectors, more], dim=1)
                mask = torch.cat([mask, mask.new_ones(more.shape[:2])], dim=1)
            made[QUERIES] = (vectors, mask)
        if TEXT_QUERIES in embedding:
            made[TEXT_QUERIES] = (self.text_projection(embedding[TEXT_QUERIES][0]), embedding[TEXT_QUERIES][1])
        return self.template.arrange(make_segments((*self.condition, "instruction"), batch, made))

    def _log_probs(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]):
        """Log-probabilities of the captions' tokens and mask, each (B, L), of what `embeddings` gave."""
        target, segments = ids_segment(batch["caption"], batch["caption_lengths"]), self._segments(embedding, batch)
        self.decoder.check_length(segments, target.mask)
        return self.decoder.log_probs(segments, target, **self._training_options(target)), target.mask

    def _caption_loss(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]):
        """Mean loss per token in nats, and the number of tokens."""
        log_probs, mask = self._log_probs(embedding, batch)
        return -log_probs.sum() / mask.sum(), mask.sum()

    def _mixed_loss(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]):
        """As `_caption_loss`, of mixed neighbours: each token counts by the share of its utterance."""
        vectors, mask = embedding[QUERIES]
        partner = nearest(masked_mean(vectors, mask).detach())
        share = draw_shares(self.mixup, len(vectors), vectors.device)
        mixed = mix(vectors, partner, share)
        roles = [role for role in self.texts if role in batch]
        doubled = {}
        for name in (*roles, *(f"{role}_lengths" for role in roles)):
            rows = partner if name.startswith("caption") else slice(None)
            doubled[name] = torch.cat([batch[name], batch[name][rows]])
        log_probs, mask = self._log_probs({QUERIES: (mixed.repeat(2, 1, 1), mask.repeat(2, 1))}, doubled)
        weights = torch.cat([share, 1 - share])[:, None]
        tokens = (weights * mask).sum()
        return -(weights * log_probs).sum() / tokens, tokens

    def _training_options(self, target: Segment) -> dict:
        """What makes the decoder's task harder in training."""
        options = {}
        if self.training and self.caption_dropout:
            options["read"] = drop_tokens(target.content, self.caption_dropout, self._blank())
        if self.training and self.label_smoothing:
            options["smoothing"] = self.label_smoothing
        return options

    def _blank(self) -> int:
        """An id that stands nowhere within a caption."""
        unknown = self.decoder.tokenizer.unk_id
        has_row = unknown is not None and (self.decoder.rows is None or unknown < self.decoder.rows)
        return unknown if has_row else self.template.end

    @torch.no_grad()
    def generate(self, options: DecodingOptions, **batch):
        """Captions as token ids, see `AbsDecoder.generate`; the batch is that of `segments`."""
        return self.generate_from(self.segments(**batch), options)

    @torch.no_grad()
    def generate_from(self, segments: Sequence[Segment], options: DecodingOptions):
        """The same of what `segments` gave, which several ways of decoding may share."""
        self.decoder.check_length(segments, options.max_length)
        return self.decoder.generate(segments, options, self.template.ends)

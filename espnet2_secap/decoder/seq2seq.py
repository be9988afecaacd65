"""BART, mBART, T5 or any other encoder-decoder of transformers as the decoder (SECap, Tables 2 and 3: BART)."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch

from espnet2_secap.decoder.abilities import holds, refusal, rows_of_one_length, short_error
from espnet2_secap.decoder.lm import LMDecoder, ranked, until_end
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.transformers_search import EncoderOutput, seq2seq_search
from espnet2_secap.errors import SecError
from espnet2_secap.masks import to_the_right
from espnet2_secap.pretrained import load_seq2seq_lm
from espnet2_secap.text.template import Segment
from espnet2_secap.values import Dropout, Place

LENGTH, LESS, STEPS = 6, 2, 4  # positions of what is tried: the longer row, what the other lacks, tokens written
# Where logits come from the decoder's states: exactly one of these ways gives those of the LM's own forward.
HEADS = (
    lambda lm, states: lm.get_output_embeddings()(states) + lm.final_logits_bias,
    lambda lm, states: lm.get_output_embeddings()(states),
    lambda lm, states: lm.get_output_embeddings()(states * lm.config.d_model**-0.5),
)


class Seq2SeqDecoder(LMDecoder):
    """An encoder-decoder, frozen by default: its encoder reads the segments, its decoder writes the caption.

    Before the caption its decoder reads the id that its configuration starts with, and what its tokenizer puts before a
    text (BART: </s> <s>, T5: <pad>, multilingual ones the code of the language). Dropout is that of what the encoder
    reads.

    Args:
        path, dtype, lora, freeze, attn_implementation, gradient_checkpointing, dropout, attention_dropout: see
            LMDecoder.
        lang: code of the captions' language in a multilingual tokenizer (mBART: zh_CN), which must be given there.
        forced: ids that the decoder reads between its start and the caption, instead of the tokenizer's.

    Raises:
        SecError: no encoder-decoder, or one that cannot be used, and why.
    """

    task = "SEQ_2_SEQ_LM"
    auto_class = "AutoModelForSeq2SeqLM"
    reads_caption = False

    def __init__(
        self,
        path: Place,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        lora: dict | None = None,
        freeze: bool = True,
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
        dropout: Dropout = 0.0,
        attention_dropout: Dropout | None = None,
        lang: str | None = None,
        forced: list[int] | None = None,
    ):
        self._lang, self._forced = lang, forced
        super().__init__(
            path, dtype, lora, freeze, attn_implementation, gradient_checkpointing, dropout, attention_dropout
        )

    @classmethod
    def load(cls, path: str, **options):
        """See LMDecoder."""
        return load_seq2seq_lm(path, "decoder_conf path", **options)

    def prepare(self, lm, own) -> None:
        """See LMDecoder."""
        start = getattr(own, "decoder_start_token_id", None)
        start = start if start is not None else getattr(lm.config, "decoder_start_token_id", None)
        start = start if start is not None else _start_of(lm)
        self.start, self.forced = _first_ids(self.tokenizer, start, self._lang)
        if self._forced is not None:
            self.forced = tuple(self._forced)
        if self.start is None:
            raise SecError("decoder_conf path: its config.json has no decoder_start_token_id; add it")
        for one in (self.start, *self.forced):
            if not 0 <= one < self.rows:
                raise SecError(
                    f"decoder_conf: the decoder begins with id {one}, the LM has those of 0 to {self.rows - 1}"
                )
        self.written = 1 + len(self.forced)
        sides = [getattr(lm.config, f"max_{side}_position_embeddings", None) for side in ("encoder", "decoder")]
        if all(sides):  # LED
            self.limit, self.has_table = sides[1], True
        self.readable = sides[0] or self.limit
        lm.requires_grad_(False).eval()
        self.padding, self.head = _try(lm, self.start)

    @property
    def hard_limit(self) -> int | None:
        """See AbsDecoder: where the LM has tables of positions, those of each side."""
        return self.limit if self.has_table else None

    def check_length(self, segments: Sequence[Segment], more: int | torch.Tensor = 0) -> None:
        """See AbsDecoder: what is read and what is written have a limit each."""
        if self.hard_limit is None:
            return
        widest = more if isinstance(more, int) else more.size(1)
        if sum(one.mask.size(1) for one in segments) <= self.readable and self.written + widest <= self.limit:
            return
        read = int(sum(one.mask.sum(1) for one in segments).max())
        written = self.written + (more if isinstance(more, int) else int(more.sum(1).max()))
        for length, limit, what, hint in (
            (
                read,
                self.readable,
                "what the encoder reads",
                "shorten prompts or take fewer vectors of speech (bridge_conf)",
            ),
            (written, self.limit, "what the decoder writes", "lower --max_length or shorten captions"),
        ):
            if length > limit:
                raise SecError(f"decoder: {what} has {length} positions, the LM has {limit}; {hint}")

    def join(self, segments: Sequence[Segment]) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments as embeddings (B, P, H) with mask (B, P), all padding behind what is real."""
        lm = self._plain()
        dtype = lm.get_input_embeddings().weight.dtype
        vectors = [_embedded(lm, one.content) if one.is_ids else one.content.to(dtype) for one in segments]
        return to_the_right(torch.cat(vectors, dim=1), torch.cat([one.mask for one in segments], dim=1))

    def encode(self, segments: Sequence[Segment]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the LM's encoder makes of them, (B, P, H) with mask (B, P)."""
        vectors, mask = self.join(segments)
        vectors, encoder = self._dropped(vectors), self._plain().get_encoder()
        if self.padding or bool(mask.all()):
            return encoder(inputs_embeds=vectors, attention_mask=mask.long())[0], mask
        parts, order = [], []
        for rows in rows_of_one_length(mask):
            own = vectors[rows][:, mask[rows[0]]]
            states = encoder(inputs_embeds=own, attention_mask=mask[rows][:, mask[rows[0]]].long())[0]
            parts.append(torch.nn.functional.pad(states, (0, 0, 0, mask.size(1) - states.size(1))))
            order.append(rows)
        return torch.cat(parts)[torch.cat(order).argsort()], mask

    def _hidden(self, segments: Sequence[Segment], caption: Segment) -> tuple[torch.Tensor, Callable]:
        """See LMDecoder."""
        return self._states(*self.encode(segments), caption.content)

    def _states(self, encoded: torch.Tensor, mask: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, Callable]:
        """States or logits that predict ids (B, L), and the function from a part of them to logits."""
        lm = self._plain()
        before = torch.tensor([[self.start, *self.forced]], device=ids.device).expand(len(ids), -1)
        read = torch.cat([before, ids[:, :-1]], dim=1)
        if self.head is None:
            given = dict(encoder_outputs=EncoderOutput(encoded), attention_mask=mask.long(), use_cache=False)
            return lm(decoder_input_ids=read, **given).logits[:, before.size(1) - 1 :], lambda logits: logits
        given = dict(encoder_hidden_states=encoded, encoder_attention_mask=mask.long(), use_cache=False)
        states = lm.get_decoder()(input_ids=read, **given)[0]
        return states[:, before.size(1) - 1 :], lambda part: HEADS[self.head](lm, part)

    @torch.no_grad()
    def caption_log_probs(self, segments: Sequence[Segment], captions: Segment) -> torch.Tensor:
        """See AbsDecoder. What is read goes through the encoder once."""
        encoded, mask = self.encode(segments)
        size = len(captions.content)
        states, head = self._states(encoded.expand(size, -1, -1), mask.expand(size, -1), captions.content)
        logits = head(states)
        found = logits.gather(2, captions.content[..., None]).squeeze(2).float() - logits.float().logsumexp(-1)
        return (found * captions.mask).sum(1)

    @torch.no_grad()
    def generate(self, segments: Sequence[Segment], options: DecodingOptions, ends: Sequence[int]):
        """As CausalLMDecoder's, by transformers' own searches."""
        self.check_options(options)
        encoded, mask = self.encode(segments)
        tokens, scores = seq2seq_search(self._plain(), encoded, mask, options, ends, self.start, self.forced)
        sequences = [until_end(row, ends) for row in tokens.tolist()]
        return ranked(sequences, scores.tolist(), options.num_candidates)


def _embedded(lm, ids: torch.Tensor) -> torch.Tensor:
    """What the encoder makes of ids first, the scale of their embeddings included."""
    table = lm.get_input_embeddings()
    scale = 1.0 if hasattr(table, "embed_scale") else getattr(lm.get_encoder(), "embed_scale", None)
    return table(ids) * (1.0 if scale is None else scale)


def _start_of(lm) -> int | None:
    """The start of an LM whose configuration names none (T5Gemma): what it puts before labels."""
    try:
        return int(lm.prepare_decoder_input_ids_from_labels(labels=torch.tensor([[0, 0]]))[0, 0])
    except Exception:  # of a model's code, of any kind: it names none either
        return None


def _first_ids(tokenizer, start: int | None, lang: str | None) -> tuple[int | None, tuple[int, ...]]:
    """What the decoder reads before a caption: its start, and the ids between it and the caption."""
    inner = getattr(tokenizer, "tokenizer", None)  # of transformers
    if getattr(inner, "separate_vocabs", False):
        raise SecError(
            "decoder_conf path: its tokenizer has a vocabulary for what is read and another for what is written; give"
            " an LM with one vocabulary"
        )
    multilingual = getattr(inner, "src_lang", None) is not None
    if lang is None:
        if multilingual:
            raise SecError(f"decoder_conf: {type(inner).__name__} is multilingual; give lang, such as zh_CN")
        before = tokenizer.before_text
        return start, before if before != (start,) else ()  # T5Gemma starts with what stands before a text
    if not multilingual:
        raise SecError(f"decoder_conf: lang={lang!r}: the tokenizer knows no languages; leave it out")
    number = inner.convert_tokens_to_ids(lang)
    if number is None or number == inner.unk_token_id:
        number = inner.convert_tokens_to_ids(f"__{lang}__")  # M2M100
    if number is None or number == inner.unk_token_id:
        raise SecError(f"decoder_conf: lang={lang!r}: {type(inner).__name__} has no such language")
    if type(inner).__name__.startswith("MBartTokenizer"):  # the first mBART begins with the language itself
        return number, ()
    return start, (number,)


def _try(lm, start: int) -> tuple[bool, int | None]:
    """Whether padding behind a row changes nothing of it, and which of HEADS gives the logits, if one does.

    Raises:
        SecError: the encoder does not read embeddings.
    """
    name, encoder, weight = type(lm).__name__, lm.get_encoder(), lm.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(len(weight), generator=generator)[: LENGTH + 1]
    ids = ids[ids != (getattr(lm.config, "pad_token_id", None) or 0)][:LENGTH].to(weight.device)[None]
    tolerance = 1e-4 if weight.dtype == torch.float32 else 5e-2

    def same(one: torch.Tensor, other: torch.Tensor) -> bool:
        one, other = one.float(), other.float()
        return one.shape == other.shape and bool(((one - other).abs() <= tolerance * other.std()).all())

    def states_of(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return encoder(inputs_embeds=vectors.clone(), attention_mask=mask.long())[0]

    with torch.no_grad():
        every = torch.ones_like(ids)
        try:
            by_ids, vectors = encoder(input_ids=ids, attention_mask=every)[0], _embedded(lm, ids)
            whole = states_of(vectors, every)
            read = torch.tensor([[start, *ids[0, :-1].tolist()]], device=ids.device)
            logits = lm(encoder_outputs=EncoderOutput(whole), attention_mask=every, decoder_input_ids=read).logits
        except Exception as err:  # of a model's code: any kind
            if "not implemented for" in str(err):  # 16 bits on a CPU
                return False, None
            raise refusal(name, f"it does not read embeddings ({short_error(err)})") from err
        if not same(by_ids, whole):
            raise refusal(name, "it does more to token ids than to embed them")
        mask = torch.ones(2, LENGTH, dtype=torch.bool, device=ids.device)
        mask[1, -LESS:] = False
        rows = torch.cat([vectors, torch.cat([vectors[:, :-LESS], 7 * vectors[:, :LESS]], dim=1)])
        short = states_of(vectors[:, :-LESS], every[:, :-LESS])
        padding = holds(lambda: same(states_of(rows, mask)[1:, :-LESS], short))
        states = torch.cat([whole, torch.nn.functional.pad(short, (0, 0, 0, LESS), value=7.0)])
        try:
            right = _writes(lm, states, mask, start, same)
            fault = None if right else "a padded batch is not decoded as its rows are alone"
        except Exception as err:  # of a model's code: any kind
            fault = f"its decoder does not run ({short_error(err)})"
        if fault:
            raise refusal(name, fault)
        given = dict(encoder_hidden_states=whole, encoder_attention_mask=every, use_cache=False)
        heads = (
            at
            for at, head in enumerate(HEADS)
            if holds(lambda head=head: torch.equal(head(lm, lm.get_decoder()(input_ids=read, **given)[0]), logits))
        )
        return padding, next(heads, None)


def _writes(lm, states: torch.Tensor, mask: torch.Tensor, start: int, same: Callable) -> bool:
    """Whether a batch of what the encoder made, (2, P, H), is decoded as its rows are alone, by teacher forcing."""
    end = lm.get_input_embeddings().weight.size(0) - 1
    options = DecodingOptions(min_length=STEPS, max_length=STEPS)
    tokens, scores = seq2seq_search(lm, states, mask, options, [end], start)
    for row, real, own, score in zip(states, mask, tokens, scores, strict=True):
        read = torch.cat([own.new_tensor([start]), own[:-1]])[None]
        given = dict(encoder_outputs=EncoderOutput(row[real][None]), attention_mask=real[real][None].long())
        logits = lm(decoder_input_ids=read, use_cache=False, **given).logits[0].float()
        if not same(score + logits, logits.log_softmax(-1).gather(1, own[:, None]).mean() + logits):
            return False
    return True

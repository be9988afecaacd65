"""LLaMA or any other causal LM of transformers as the decoder (SECap, Model Architecture)."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from espnet2_secap.decoder.abilities import abilities_of, inputs_of, rows_of_one_length
from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.beam_sample import beam_sample
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.transformers_search import transformers_search
from espnet2_secap.errors import SecError
from espnet2_secap.masks import to_the_left
from espnet2_secap.pretrained import PretrainedPart, load_causal_lm, position_limit
from espnet2_secap.text.template import Segment
from espnet2_secap.text.tokenizer import build_tokenizer, check_vocabulary
from espnet2_secap.values import Dropout, Place

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BLOCK = 2**24  # logits that are in float32 at once: 64 MB


class CausalLMDecoder(AbsDecoder):
    """A causal LM, frozen by default, that reads segments and caption as one sequence of embeddings.

    Args:
        path: folder or hub name of the LM with its tokenizer.
        dtype: float32, bfloat16 or float16, of the weights; what is trained should be float32 (with AMP, if need be).
        lora: options of peft.LoraConfig, such as {r: 8, target_modules: [q_proj, v_proj]}; no LoRA if none.
        freeze: False trains the whole LM, and checkpoints then hold it.
        attn_implementation: eager, sdpa, flash_attention_2 or another of transformers; its own choice if none.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        dropout: of all embeddings that the LM reads in training, those of speech too.
        attention_dropout: of attention weights, instead of what the LM's configuration says (LLaMA: 0); of an LM that
            is trained (`freeze: false`).
    """

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
    ):
        super().__init__()
        if dtype not in DTYPES:
            raise SecError(f"decoder_conf: dtype={dtype!r}, expected one of {', '.join(DTYPES)}")
        if not freeze and (lora is not None or dtype != "float32"):
            raise SecError("decoder_conf: freeze: false trains the whole LM, without lora and in float32 only")
        if attention_dropout is not None and freeze:
            raise SecError("decoder_conf: attention_dropout is of an LM that is trained; set freeze: false")
        self.dropout = dropout
        options = {"attn_implementation": attn_implementation} if attn_implementation else {}
        lm = load_causal_lm(path, "decoder_conf path", dtype=DTYPES[dtype], **options)
        self.tokenizer = build_tokenizer(path)
        self.rows = lm.get_input_embeddings().weight.size(0)
        check_vocabulary(self.tokenizer, self.rows, path, "decoder_conf path", special=False)
        self.end_ids = [
            one for one in _end_ids(lm) if 0 <= one < self.rows
        ]  # some configurations name what is not there
        lm.generation_config = type(lm.generation_config)()  # decoding is what the options say, whatever the LM's file
        self.abilities = abilities_of(lm)
        self.limit, self.has_table = position_limit(lm)
        if self.abilities.limit is not None:  # beyond it, each token's score would depend on how many follow
            self.limit, self.has_table = self.abilities.limit, True
        if gradient_checkpointing:
            lm.gradient_checkpointing_enable({"use_reentrant": False})
        if attention_dropout is not None:
            _set_attention_dropout(lm, attention_dropout)
        self.lm = PretrainedPart(lm)
        self.splits: bool | None = None  # whether logits are the output embedding of the body's states, if known
        if lora is not None:
            self.lm.add_lora(lora)
        elif not freeze:
            lm.requires_grad_(True)

    def check_options(self, options: DecodingOptions) -> None:
        """See AbsDecoder: the beam must fit into the vocabulary."""
        options.check_vocabulary(self.lm.module.get_output_embeddings().weight.size(0))

    @classmethod
    def tokenize(cls, path: str, **_) -> Callable[[str], list[int]]:
        """See AbsDecoder; no special tokens are added."""
        return build_tokenizer(path).encode

    def embedding_size(self) -> int:
        """Width of the LM's input embeddings."""
        return self.lm.module.get_input_embeddings().weight.size(1)

    @property
    def hard_limit(self) -> int | None:
        """See AbsDecoder: where the LM has a table of positions."""
        return self.limit if self.has_table else None

    def check_length(self, segments: Sequence[Segment], more: int = 0) -> None:
        """See AbsDecoder. Where positions are rotary it is a warning, once."""
        if self.limit is None or sum(one.mask.size(1) for one in segments) + more <= self.limit:
            return
        length = sum(one.mask.sum(1) for one in segments).max().item() + more
        if length <= self.limit:
            return
        said = f"what the LM reads and writes has up to {length} positions"
        if self.has_table:
            raise SecError(
                f"decoder: {said}, the LM has {self.limit}; lower --max_length, shorten captions or prompts, take fewer"
                " vectors of speech (bridge_conf num_queries or stride), or an LM with more"
            )
        logging.warning(f"decoder: {said}, the LM was trained with {self.limit}: it may write worse beyond")
        self.limit = None

    def join(self, segments: Sequence[Segment]) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments as embeddings (B, P, H) with mask (B, P); the last position is real in every row."""
        embed = self.lm.module.get_input_embeddings()
        *others, last = segments
        if not last.mask[:, -1].all():  # its padding goes to its left, so that the caption follows on something real
            order = last.mask.long().argsort(dim=1, stable=True)
            content = last.content if last.is_ids else last.content.movedim(2, 0)
            content = content.gather(-1, order.expand(content.shape))
            last = Segment(content if last.is_ids else content.movedim(0, 2), last.mask.gather(1, order))
        segments = [*others, last]
        vectors = [embed(one.content) if one.is_ids else one.content.to(embed.weight.dtype) for one in segments]
        return torch.cat(vectors, dim=1), torch.cat([one.mask for one in segments], dim=1)

    def _plain(self):
        """The LM itself, with what LoRA has put into it."""
        return getattr(self.lm.module, "get_base_model", lambda: self.lm.module)()

    def _hidden(self, segments: Sequence[Segment], caption: Segment) -> tuple[torch.Tensor, Callable]:
        """What each caption token is predicted from, (B, L, .), and a function from a part of it to logits."""
        prefix, mask = self.join(segments)
        length, tokens = caption.content.size(1), self.lm.module.get_input_embeddings()(caption.content)
        free = self.abilities.free(prefix.size(1) + length)
        if not free:
            prefix, mask = to_the_left(prefix, mask)
        head = self.lm.module.get_output_embeddings() if self._is_split() else lambda logits: logits
        if free or self.abilities.padding:
            return self._states(prefix, mask, tokens, caption.mask), head
        parts, order = [], []
        for rows in rows_of_one_length(mask):
            real = mask[rows[0]]
            # Padding behind a caption changes nothing of what comes before it.
            parts.append(self._states(prefix[rows][:, real], mask[rows][:, real], tokens[rows], None))
            order.append(rows)
        return torch.cat(parts)[torch.cat(order).argsort()], head

    def _states(self, prefix, prefix_mask, tokens, tokens_mask: torch.Tensor | None) -> torch.Tensor:
        """States or logits that predict the tokens, (B, L, .), of embeddings (B, P, H) and (B, L, H)."""
        if tokens_mask is None:
            tokens_mask = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        mask, length = torch.cat([prefix_mask, tokens_mask], dim=1), tokens.size(1)
        lm, vectors = self._plain(), torch.cat([prefix, tokens], dim=1)
        if self.dropout and self.training:
            vectors = torch.nn.functional.dropout(vectors, self.dropout)
        inputs = inputs_of(lm, self.abilities, vectors, mask, logits_to_keep=length + 1)
        if self._is_split():
            inputs.pop("logits_to_keep", None)
            return lm.base_model(**inputs)[0][:, -length - 1 : -1]
        return lm(**inputs).logits[:, -length - 1 : -1]

    @torch.no_grad()
    def _is_split(self) -> bool:
        """Whether the LM's logits are its output embedding of its body's states, exactly; some scale or cap them.

        Tried out once, on two positions.
        """
        if self.splits is None:
            plain, head, seen = self._plain(), self.lm.module.get_output_embeddings(), {}
            if head is None or plain.base_model is plain:
                self.splits = False
                return False
            training = plain.training
            plain.eval()
            hooks = [
                plain.base_model.register_forward_hook(lambda _, args, output: seen.update(states=output[0])),
                head.register_forward_hook(lambda _, args, output: seen.update(read=args[0], logits=output)),
            ]
            embeddings = self.lm.module.get_input_embeddings().weight[:2][None]
            logits = plain(inputs_embeds=embeddings, use_cache=False).logits
            for hook in hooks:
                hook.remove()
            pairs = ((seen.get("states"), seen.get("read")), (seen.get("logits"), logits))
            self.splits = all(a is not None and b is not None and torch.equal(a.float(), b.float()) for a, b in pairs)
            plain.train(training)
            self.lm.train(self.training)
        return self.splits

    def logits(self, segments: Sequence[Segment], caption: Segment, block: int | None = None) -> Iterator[torch.Tensor]:
        """See AbsDecoder; in the LM's dtype."""
        hidden, head = self._hidden(segments, caption)
        for part in hidden.split(block or hidden.size(1), dim=1):
            yield head(part)

    def log_probs(
        self, segments: Sequence[Segment], caption: Segment, read: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        """See AbsDecoder. At most BLOCK logits are in float32 at once, in the backward pass too."""
        hidden, head = self._hidden(segments, caption if read is None else Segment(read, caption.mask))
        vocabulary = self.lm.module.get_output_embeddings().weight.size(0)
        size = max(1, BLOCK // (len(hidden) * vocabulary))

        def block(part: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            log_probs = head(part).float().log_softmax(-1)
            own = log_probs.gather(2, ids[..., None]).squeeze(2)
            return (1 - smoothing) * own + smoothing * log_probs.mean(-1) if smoothing else own

        if size >= hidden.size(1):
            return block(hidden, caption.content) * caption.mask
        parts = zip(hidden.split(size, dim=1), caption.content.split(size, dim=1), strict=True)
        return torch.cat([checkpoint(block, *part, use_reentrant=False) for part in parts], dim=1) * caption.mask

    @torch.no_grad()
    def caption_log_probs(self, segments: Sequence[Segment], captions: Segment) -> torch.Tensor:
        """See AbsDecoder. What stands before the captions goes through the LM once, where it may be cached."""
        prefix, mask = self.join(segments)
        prefix, (size, length), lm = prefix[:, mask[0]], captions.content.shape, self._plain()
        if not (self.abilities.cache and self.abilities.free(prefix.size(1) + length)):
            return super().caption_log_probs(segments, captions)
        cache = DynamicCache(config=lm.config)

        def logits_of(vectors: torch.Tensor) -> torch.Tensor:
            seen = cache.get_seq_length()
            mask = torch.ones(len(vectors), seen + vectors.size(1), dtype=torch.bool, device=vectors.device)
            inputs = inputs_of(lm, self.abilities, vectors, mask)
            if "position_ids" in inputs:
                inputs["position_ids"] = inputs["position_ids"][:, seen:]
            return lm(**(inputs | {"use_cache": True, "past_key_values": cache})).logits

        logits = logits_of(prefix)[:, -1:].expand(size, -1, -1)
        if length > 1:
            cache.batch_repeat_interleave(size)
            tokens = self.lm.module.get_input_embeddings()(captions.content[:, :-1])
            logits = torch.cat([logits, logits_of(tokens)], dim=1)
        found = logits.gather(2, captions.content[..., None]).squeeze(2).float() - logits.float().logsumexp(-1)
        return (found * captions.mask).sum(1)

    @torch.no_grad()
    def generate(self, segments: Sequence[Segment], options: DecodingOptions, ends: Sequence[int]):
        """Greedy search (beam_size 1), beam search, or sampling (each candidate within its own beams if beam_size > 1).

        Scores: beam search's own, else the mean log-probability of the tokens, end included.
        """
        self.check_options(options)
        embeddings, mask = self.join(segments)
        lm, width = self._plain(), mask.size(1) + options.max_length
        search, free = transformers_search, self.abilities.free(width)
        if free and options.sampling and options.beam_size > 1:
            search = beam_sample
        elif not self.abilities.cache:
            search = partial(transformers_search, cache=False)
        if not free:
            embeddings, mask = to_the_left(embeddings, mask)
        together = free or (self.abilities.padding and self.abilities.cache)
        groups = [slice(None)] if together else rows_of_one_length(mask)
        sequences, scores = [None] * len(mask), [None] * len(mask)
        for rows in groups:
            real = slice(None) if together else mask[rows[0]]
            own = mask[rows][:, real]
            found = search(lm, embeddings[rows][:, real], own, options, ends)
            candidates = _ranked(
                [_until(row, ends) for row in found[0].tolist()], found[1].tolist(), options.num_candidates
            )
            for row, *of_row in zip(range(len(mask)) if together else rows.tolist(), *candidates, strict=True):
                sequences[row], scores[row] = of_row
        return sequences, scores


def _set_attention_dropout(lm, value: float) -> None:
    layers = [one for one in lm.modules() if isinstance(getattr(one, "attention_dropout", None), (int, float))]
    if not layers:
        raise SecError(
            f"decoder_conf: attention_dropout: {lm.config.model_type} has none of this name; leave it out, or set the"
            " dropout in the LM's own config.json"
        )
    for layer in layers:
        layer.attention_dropout = value


def _end_ids(lm) -> list[int]:
    """Where the LM's own configuration ends a text."""
    ends = lm.generation_config.eos_token_id if lm.generation_config is not None else lm.config.eos_token_id
    found = [] if ends is None else list(ends) if isinstance(ends, (list, tuple)) else [ends]
    if not all(type(one) is int for one in found):
        raise SecError(
            f"decoder_conf path: its generation_config.json or config.json has eos_token_id {ends!r}: must be an id or"
            " a list of ids"
        )
    return found


def _ranked(sequences: list, scores: list[float], each: int) -> tuple[list[list], list[list[float]]]:
    """`each` neighbouring candidates to an utterance, the best first."""
    candidates, values = [], []
    for start in range(0, len(sequences), each):
        rows = sorted(range(start, start + each), key=lambda i: -scores[i])
        candidates.append([sequences[i] for i in rows])
        values.append([scores[i] for i in rows])
    return candidates, values


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    """The ids before the first end."""
    return ids[: next((at for at, one in enumerate(ids) if one in ends), len(ids))]

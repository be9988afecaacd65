"""LLaMA or any other causal LM of transformers as the decoder (SECap, Model Architecture)."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch.utils.checkpoint import checkpoint

from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.beam_sample import beam_sample
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.masks import positions
from espnet2_secap.pretrained import PretrainedPart, load_causal_lm, position_limit
from espnet2_secap.text.template import Segment
from espnet2_secap.text.tokenizer import build_tokenizer, check_vocabulary
from espnet2_secap.values import Place

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
    """

    def __init__(
        self,
        path: Place,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        lora: dict | None = None,
        freeze: bool = True,
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        if dtype not in DTYPES:
            raise SecError(f"decoder_conf: dtype={dtype!r}, expected one of {', '.join(DTYPES)}")
        if not freeze and (lora is not None or dtype != "float32"):
            raise SecError("decoder_conf: freeze: false trains the whole LM, without lora and in float32 only")
        options = {"attn_implementation": attn_implementation} if attn_implementation else {}
        lm = load_causal_lm(path, "decoder_conf path", dtype=DTYPES[dtype], **options)
        self.tokenizer = build_tokenizer(path)
        self.rows = lm.get_input_embeddings().weight.size(0)
        check_vocabulary(self.tokenizer, self.rows, path, "decoder_conf path")
        self.end_ids = [
            one for one in _end_ids(lm) if 0 <= one < self.rows
        ]  # some configurations name what is not there
        self.limit, self.has_table = position_limit(lm)
        lm.generation_config = type(lm.generation_config)()  # decoding is what the options say, whatever the LM's file
        if gradient_checkpointing:
            lm.gradient_checkpointing_enable({"use_reentrant": False})
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

    def _hidden(self, segments: Sequence[Segment], caption: Segment) -> tuple[torch.Tensor, Callable]:
        """What each caption token is predicted from, (B, L, .), and a function from a part of it to logits."""
        prefix, prefix_mask = self.join(segments)
        length = caption.content.size(1)
        mask = torch.cat([prefix_mask, caption.mask], dim=1)
        lm = self.lm.module
        inputs = dict(
            inputs_embeds=torch.cat([prefix, lm.get_input_embeddings()(caption.content)], dim=1),
            attention_mask=mask.long(),
            position_ids=positions(mask),
            use_cache=False,
        )
        if self._is_split():
            body = getattr(lm, "get_base_model", lambda: lm)().base_model
            states = body(**inputs)[0][:, -length - 1 : -1]
            return states, lm.get_output_embeddings()
        return lm(**inputs, logits_to_keep=length + 1).logits[:, :-1], lambda logits: logits

    @torch.no_grad()
    def _is_split(self) -> bool:
        """Whether the LM's logits are its output embedding of its body's states; some scale or cap them.

        Tried out once, on two positions.
        """
        if self.splits is None:
            lm = self.lm.module
            plain, head = getattr(lm, "get_base_model", lambda: lm)(), lm.get_output_embeddings()
            if head is None or plain.base_model is plain:
                self.splits = False
                return False
            training = plain.training
            plain.eval()
            weight = lm.get_input_embeddings().weight
            inputs = dict(inputs_embeds=weight[:2][None], use_cache=False)
            self.splits = torch.allclose(lm(**inputs).logits, head(plain.base_model(**inputs)[0]), rtol=1e-3)
            plain.train(training)
            self.lm.train(self.training)
        return self.splits

    def logits(self, segments: Sequence[Segment], caption: Segment, block: int | None = None) -> Iterator[torch.Tensor]:
        """See AbsDecoder; in the LM's dtype."""
        hidden, head = self._hidden(segments, caption)
        for part in hidden.split(block or hidden.size(1), dim=1):
            yield head(part)

    def log_probs(self, segments: Sequence[Segment], caption: Segment) -> torch.Tensor:
        """See AbsDecoder. At most BLOCK logits are in float32 at once, in the backward pass too."""
        hidden, head = self._hidden(segments, caption)
        vocabulary = self.lm.module.get_output_embeddings().weight.size(0)
        size = max(1, BLOCK // (len(hidden) * vocabulary))

        def block(part: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return head(part).float().log_softmax(-1).gather(2, ids[..., None]).squeeze(2)

        if size >= hidden.size(1):
            return block(hidden, caption.content) * caption.mask
        parts = zip(hidden.split(size, dim=1), caption.content.split(size, dim=1), strict=True)
        return torch.cat([checkpoint(block, *part, use_reentrant=False) for part in parts], dim=1) * caption.mask

    @torch.no_grad()
    def generate(self, segments: Sequence[Segment], options: DecodingOptions, ends: Sequence[int]):
        """Greedy search (beam_size 1), beam search, or sampling (each candidate within its own beams if beam_size > 1).

        Scores: beam search's own, else the mean log-probability of the tokens, end included.
        """
        self.check_options(options)
        embeddings, mask = self.join(segments)
        if options.sampling and options.beam_size > 1:
            lm = self.lm.module
            if getattr(lm, "_is_stateful", False):
                raise SecError(f"decoding: {type(lm).__name__} cannot be sampled within beams; set beam_size to 1")
            tokens, scores = beam_sample(lm, embeddings, mask, options, ends)
            sequences = [_until(row, ends) for row in tokens.tolist()]
            return _ranked(sequences, scores.tolist(), options.num_candidates)
        further = {}
        if options.sampling:
            further = dict(top_k=options.top_k, top_p=options.top_p, temperature=options.temperature)
        if options.beam_size > 1:
            further["length_penalty"] = options.length_penalty
        output = self.lm.module.generate(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            do_sample=options.sampling,
            num_beams=options.beam_size,
            num_return_sequences=options.num_candidates,
            min_new_tokens=options.min_length,
            max_new_tokens=options.max_length,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
            return_dict_in_generate=True,
            output_scores=True,
            **further,
        )
        sequences = [_until(row, ends) for row in output.sequences.tolist()]
        return _ranked(sequences, self._scores(output, sequences, options.beam_size), options.num_candidates)

    def _scores(self, output, sequences, beam_size: int) -> list[float]:
        """Beam search's own score, else the mean log-probability of the tokens (end included)."""
        if beam_size > 1:
            return output.sequences_scores.tolist()
        steps = self.lm.module.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
        scores = []
        for row, sequence in zip(steps.tolist(), sequences, strict=True):
            taken = row[: len(sequence) + 1]
            scores.append(sum(taken) / max(len(taken), 1))
        return scores


def _end_ids(lm) -> list[int]:
    """Where the LM's own configuration ends a text."""
    ends = lm.generation_config.eos_token_id if lm.generation_config is not None else lm.config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


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

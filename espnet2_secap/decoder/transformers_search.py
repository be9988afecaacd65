"""The searches of transformers' `generate`, asked for by our options alone."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.modeling_outputs import BaseModelOutput

from espnet2_secap.decoder.options import DecodingOptions


@dataclass
class EncoderOutput(BaseModelOutput):
    """What an LM's encoder has made, `last_hidden_state` (B, P, H), with what LMs of experts ask for besides."""

    router_logits: tuple | None = None


@torch.no_grad()
def transformers_search(
    lm, embeddings: torch.Tensor, mask: torch.Tensor, options: DecodingOptions, ends: Sequence[int], cache: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy search, beam search, sampling, or sampling within beams (each candidate within its own).

    Args:
        lm: causal LM of transformers; nothing of its own generation_config may be left (see lm.py).
        embeddings, mask: prefix (B, P, H) and (B, P); its last position is real in every row.
        options: `num_candidates` is the number of captions per row.
        ends: ids that end a caption.
        cache: False reads prefix and caption again at each token, for LMs whose caches cannot be relied on; no row may
            then have padding.

    Returns:
        token ids (B * candidates, n), ends[0] behind the end; scores (B * candidates,): with beams the sum of the
        processed log-probabilities over length ** length_penalty, else the mean log-probability of the tokens, end
        included, by the LM itself: whatever was left to draw from.
    """
    embeddings, mask = _for_searches(options, embeddings, mask)
    with _given_embeddings(lm, cache):
        return _search(lm, options, ends, inputs_embeds=embeddings, attention_mask=mask.long())


@torch.no_grad()
def seq2seq_search(
    lm,
    states: torch.Tensor,
    mask: torch.Tensor,
    options: DecodingOptions,
    ends: Sequence[int],
    start: int,
    forced: Sequence[int] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by an encoder-decoder.

    Args:
        lm: encoder-decoder of transformers; nothing of its own generation_config may be left.
        states, mask: what the encoder made, (B, P, H) and (B, P).
        options, ends: as above.
        start: id that its decoder begins with.
        forced: ids that are written before the caption, whatever their probability. As in transformers, they count in
            the length by which beam search divides; in nothing else.

    Returns:
        as above, without `start` and `forced`.
    """
    states, mask = _for_searches(options, states, mask)
    begin = [start] if not options.sampling else [start, *forced]  # nothing can be drawn where all but one is excluded
    return _search(
        lm,
        options,
        ends,
        skip=1 + len(forced),
        forced=[start, *forced][len(begin) :],
        encoder_outputs=EncoderOutput(states),
        attention_mask=mask.long(),
        decoder_input_ids=torch.tensor([begin], device=states.device).expand(len(states), -1),
        decoder_start_token_id=start,
    )


def _for_searches(options: DecodingOptions, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A row for each search: sampling within beams is one search for each candidate."""
    if not (options.sampling and options.beam_size > 1):
        return tensors
    return tuple(one.repeat_interleave(options.num_candidates, dim=0) for one in tensors)


def _search(
    lm, options: DecodingOptions, ends: Sequence[int], skip: int = 0, forced: Sequence[int] = (), **inputs
) -> tuple[torch.Tensor, torch.Tensor]:
    """transformers' `generate`; the first `skip` ids of its output are no caption's, the last of them `forced`."""
    beams, further = options.beam_size, {}
    if options.sampling:
        further = dict(top_k=0, top_p=1.0, temperature=1.0)
    if beams > 1:
        further |= dict(length_penalty=options.length_penalty, early_stopping=options.early_stopping)
    if options.forced_end:
        further["forced_eos_token_id"] = ends[0]
    output = lm.generate(
        do_sample=options.sampling,
        num_beams=beams,
        num_return_sequences=1 if options.sampling and beams > 1 else options.num_candidates,
        min_new_tokens=options.min_length + len(forced),
        max_new_tokens=options.max_length + len(forced),
        logits_processor=_processors(options, skip, forced),
        eos_token_id=list(ends),
        pad_token_id=ends[0],
        return_dict_in_generate=True,
        output_scores=beams > 1,
        output_logits=beams == 1,
        **inputs,
        **further,
    )
    tokens = output.sequences[:, skip:]
    if beams > 1:
        return tokens, output.sequences_scores
    steps = zip(output.logits[len(forced) :], tokens.T[..., None], strict=True)
    log_probs = torch.cat([logits.float().log_softmax(-1).gather(1, one) for logits, one in steps], dim=1)
    ended = torch.isin(tokens, torch.tensor(list(ends), device=tokens.device))
    written = ended.cumsum(1) - ended.long() == 0  # the first end counts
    return tokens, (log_probs * written).sum(1) / written.sum(1)


class _OfCaption(LogitsProcessor):
    """A processor that is shown the caption's tokens alone."""

    def __init__(self, processor: LogitsProcessor, skip: int):
        self.processor, self.skip = processor, skip

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return self.processor(input_ids[:, self.skip :], scores)


class _Forced(LogitsProcessor):
    """Leaves one token at each of the first steps."""

    def __init__(self, tokens: Sequence[int], skip: int):
        self.tokens = dict(enumerate(tokens, skip - len(tokens)))  # by the number of ids before

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = self.tokens.get(input_ids.size(1))
        if token is None:
            return scores
        scores = torch.full_like(scores, -torch.inf)
        scores[:, token] = 0
        return scores


def _processors(options: DecodingOptions, skip: int = 0, forced: Sequence[int] = ()) -> LogitsProcessorList:
    """What generate would make of the same options, but for three things.

    Its penalty passes over as many tokens of a caption as its row has padding; its top-k and top-p leave more tokens
    than they are told where there are beams; of an encoder-decoder, its penalties see what stands before the caption.
    """
    processors = LogitsProcessorList()
    if options.repetition_penalty != 1:
        processors.append(_OfCaption(RepetitionPenaltyLogitsProcessor(float(options.repetition_penalty)), skip))
    if options.no_repeat_ngram_size:
        processors.append(_OfCaption(NoRepeatNGramLogitsProcessor(options.no_repeat_ngram_size), skip))
    if options.sampling and options.temperature != 1:
        processors.append(TemperatureLogitsWarper(float(options.temperature)))
    if options.sampling and options.top_k:
        processors.append(TopKLogitsWarper(options.top_k))
    if options.sampling and options.top_p < 1:
        processors.append(TopPLogitsWarper(float(options.top_p)))
    if forced:
        processors.append(_Forced(forced, skip))
    return processors


@contextlib.contextmanager
def _given_embeddings(lm, cache: bool) -> Iterator[None]:
    """Have `generate` give the LM the prefix's embeddings, without a cache those of prefix and tokens at every step."""
    given = lm.prepare_inputs_for_generation

    def everything(input_ids, inputs_embeds=None, attention_mask=None, **kwargs):
        sequence = torch.cat([inputs_embeds, lm.get_input_embeddings()(input_ids)], dim=1)
        return {"inputs_embeds": sequence, "attention_mask": attention_mask, "use_cache": False}

    def named(input_ids, inputs_embeds=None, **kwargs):  # some LMs take embeddings, but do not say so
        return given(input_ids, inputs_embeds=inputs_embeds, **kwargs)

    if cache and "inputs_embeds" in inspect.signature(given).parameters:
        yield
        return
    lm.prepare_inputs_for_generation = named if cache else everything
    try:
        yield
    finally:
        del lm.prepare_inputs_for_generation  # the class's own is there again

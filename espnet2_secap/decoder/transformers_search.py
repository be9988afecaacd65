"""The searches of transformers' `generate`, asked for by our options alone."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from espnet2_secap.decoder.options import DecodingOptions


@torch.no_grad()
def transformers_search(
    lm, embeddings: torch.Tensor, mask: torch.Tensor, options: DecodingOptions, ends: Sequence[int], cache: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy search, beam search, sampling, or sampling within beams (each candidate within its own).

    Args:
        lm: causal LM of transformers; nothing of its own generation_config may be left (see causal_lm.py).
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
    beams, each, further = options.beam_size, options.num_candidates, {}
    if options.sampling:
        further = dict(top_k=0, top_p=1.0, temperature=1.0)
    if beams > 1:
        further["length_penalty"] = options.length_penalty
    if beams > 1 and options.sampling:
        embeddings, mask, each = embeddings.repeat_interleave(each, dim=0), mask.repeat_interleave(each, dim=0), 1
    with _given_embeddings(lm, cache):
        output = lm.generate(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            do_sample=options.sampling,
            num_beams=beams,
            num_return_sequences=each,
            min_new_tokens=options.min_length,
            max_new_tokens=options.max_length,
            logits_processor=_processors(options),
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
            return_dict_in_generate=True,
            output_scores=beams > 1,
            output_logits=beams == 1,
            **further,
        )
    if beams > 1:
        return output.sequences, output.sequences_scores
    tokens = output.sequences
    steps = zip(output.logits, tokens.T[..., None], strict=True)
    log_probs = torch.cat([logits.float().log_softmax(-1).gather(1, one) for logits, one in steps], dim=1)
    ended = torch.isin(tokens, torch.tensor(list(ends), device=tokens.device))
    written = ended.cumsum(1) - ended.long() == 0  # the first end counts
    return tokens, (log_probs * written).sum(1) / written.sum(1)


def _processors(options: DecodingOptions) -> LogitsProcessorList:
    """What generate would make of the same options, but for two things.

    Its penalty passes over as many tokens of a caption as its row has padding; its top-k and top-p leave more tokens
    than they are told where there are beams.
    """
    processors = LogitsProcessorList()
    if options.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(float(options.repetition_penalty)))
    if options.sampling and options.temperature != 1:
        processors.append(TemperatureLogitsWarper(float(options.temperature)))
    if options.sampling and options.top_k:
        processors.append(TopKLogitsWarper(options.top_k))
    if options.sampling and options.top_p < 1:
        processors.append(TopPLogitsWarper(float(options.top_p)))
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

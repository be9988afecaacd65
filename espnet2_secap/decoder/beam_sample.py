"""Sampling within beams, many searches at once: what transformers' generate does, without its detours.

Transformers computes the prefix for every beam, copies all keys and values to append a token and again to reorder the
beams, sorts the vocabulary for top-p and draws from all of it. Here a search is one row of the LM's batch and its
beams are positions of that row: an attention mask shows each beam its own ancestors, so nothing is ever reordered, the
prefix is there once, and what is drawn from are the tokens that top-k leaves.
"""

from collections.abc import Sequence

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.masks import positions

NEVER = -1e9  # a score that nothing reaches, finite so that sums of it compare


class TreeLayer(DynamicLayer):
    """Keys and values of one layer, (rows, heads, slots, width); after `spread` they are appended in place."""

    def spread(self, repeats: int, room: int) -> None:
        """Make `repeats` neighbouring rows of each, with `room` more slots."""
        self.filled = self.keys.size(2)
        self.slots = []
        for states in (self.keys, self.values):
            rows, heads, length, width = states.shape
            slots = states.new_empty(rows * repeats, heads, length + room, width)
            slots[:, :, :length] = states.repeat_interleave(repeats, dim=0)
            self.slots.append(slots)

    def keep(self, rows: torch.Tensor) -> None:
        """Leave only these rows."""
        self.slots = [slots[rows] for slots in self.slots]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Append (rows, heads, n, width); returns all keys and values."""
        if not hasattr(self, "slots"):
            return super().update(key_states, value_states)
        start, self.filled = self.filled, self.filled + key_states.size(2)
        for slots, states in zip(self.slots, (key_states, value_states), strict=True):
            slots[:, :, start : self.filled] = states
        self.keys, self.values = (slots[:, :, : self.filled] for slots in self.slots)
        return self.keys, self.values


@torch.no_grad()
def beam_sample(
    lm, embeddings: torch.Tensor, mask: torch.Tensor, options: DecodingOptions, ends: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Beam search in which continuations are drawn instead of taken (transformers' `do_sample` with `num_beams`).

    Args:
        lm: causal LM of transformers whose attention takes a mask of its own for every query.
        embeddings, mask: prefix (B, P, H) and (B, P); its last position is real in every row.
        options: `num_candidates` is the number of independent searches per row.
        ends: ids that end a caption.

    Returns:
        token ids (B * searches, max_length), ends[0] from the end of the caption on; scores (B * searches,): the sum of
        the processed log-probabilities over length ** length_penalty.
    """
    searches, beam_size, max_length = options.num_candidates, options.beam_size, options.max_length
    length_penalty, fill = options.length_penalty, ends[0]
    ends = torch.tensor(list(ends), device=embeddings.device)
    rows, beams, device = len(embeddings) * searches, beam_size, embeddings.device
    cache = Cache(layer_class_to_replicate=TreeLayer)
    logits = lm(
        inputs_embeds=embeddings,
        attention_mask=mask.long(),
        position_ids=positions(mask),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    for layer in cache.layers:
        layer.spread(searches, room=(max_length - 1) * beams)
    log_probs = logits.float().log_softmax(-1).repeat_interleave(searches, dim=0).expand(-1, beams, -1)
    prefix = mask.repeat_interleave(searches, dim=0)[:, None].expand(-1, beams, -1)
    length = mask.sum(1).repeat_interleave(searches)
    tokens = torch.empty(rows, beams, 0, dtype=torch.long, device=device)
    tree = torch.empty(rows, beams, 0, dtype=torch.bool, device=device)  # the slots of each beam's tokens
    own = torch.eye(beams, dtype=torch.bool, device=device)
    scores = torch.full((rows, beams), NEVER, device=device)
    scores[:, 0] = 0  # all beams are alike at first: only one of them continues
    ended_tokens = torch.full((rows, beams, max_length), fill, device=device)
    ended_scores = torch.full((rows, beams), NEVER, device=device)
    open_rows = torch.ones(rows, 1, dtype=torch.bool, device=device)  # those that may still improve
    output = torch.full((rows, max_length), fill, device=device), torch.zeros(rows, device=device)
    number = torch.arange(rows, device=device)  # of each row in the output
    for step in range(max_length):
        values, index = _likeliest(_processed(log_probs, tokens, ends, options), options)  # (rows, beams, K)
        total = (scores[:, :, None] + values).flatten(1)
        drawn = torch.multinomial(total.softmax(-1), 2 * beams)  # twice as many: half of them may end
        total, parent, token = total.gather(1, drawn), drawn // index.size(2), index.flatten(1).gather(1, drawn)
        history = torch.cat([_rows_of(tokens, parent), token[..., None]], dim=2)
        ended = torch.isin(token, ends) | (step + 1 == max_length)

        value = total / (step + 1) ** length_penalty
        counts = ended & open_rows & (torch.arange(2 * beams, device=device) < beams)
        texts = torch.nn.functional.pad(history, (0, max_length - step - 1), value=fill)
        ended_scores, best = torch.cat([ended_scores, value.masked_fill(~counts, NEVER)], dim=1).topk(beams)
        ended_tokens = _rows_of(torch.cat([ended_tokens, texts], dim=1), best)

        scores, going_on = (total + NEVER * ended).topk(beams)
        tokens, parent = _rows_of(history, going_on), parent.gather(1, going_on)
        open_rows = open_rows & (scores[:, :1] / (step + 1) ** length_penalty > ended_scores[:, -1:])
        if ended.all() or not open_rows.any():
            break
        if 2 * open_rows.sum() <= len(open_rows):  # half of the searches are done: they leave the batch
            _hand_over(output, number, ended_tokens, ended_scores)
            left = open_rows[:, 0].nonzero()[:, 0]
            rest = (number, tokens, tree, scores, parent, ended_tokens, ended_scores, open_rows)
            number, tokens, tree, scores, parent, ended_tokens, ended_scores, open_rows = (one[left] for one in rest)
            for layer in cache.layers:
                layer.keep(left)
        tree = torch.cat([_rows_of(tree, parent), own.expand(len(tree), -1, -1)], dim=2)
        logits = lm(
            input_ids=tokens[:, :, -1],
            attention_mask=_additive(torch.cat([prefix[number], tree], dim=2), embeddings.dtype),
            position_ids=(length[number] + step)[:, None].expand(-1, beams),
            past_key_values=cache,
            use_cache=True,
        ).logits
        log_probs = logits.float().log_softmax(-1)
    _hand_over(output, number, ended_tokens, ended_scores)
    return output


def _hand_over(output, number, ended_tokens, ended_scores) -> None:
    """The best of each row to its place in the output."""
    for whole, part in zip(output, (ended_tokens, ended_scores), strict=True):
        whole[number] = part[:, 0]


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(rows, beams, slots) -> (rows, 1, beams, slots) to be added: every implementation of attention takes that."""
    nothing = torch.zeros((), dtype=dtype, device=mask.device)
    return torch.where(mask, nothing, torch.finfo(dtype).min)[:, None]


def _rows_of(tensor: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(rows, n, L) by (rows, m) -> (rows, m, L)."""
    return tensor.gather(1, index[..., None].expand(-1, -1, tensor.size(2)))


def _processed(log_probs, tokens, ends, options: DecodingOptions) -> torch.Tensor:
    """Log-probabilities (rows, beams, V) after the penalties for what the beam has written, (rows, beams, L)."""
    length = tokens.size(2)
    log_probs = log_probs.clone()
    penalty = options.repetition_penalty
    if penalty != 1 and length:
        seen = log_probs.gather(2, tokens)
        log_probs.scatter_(2, tokens, torch.where(seen < 0, seen * penalty, seen / penalty))
    n = options.no_repeat_ngram_size
    if n and length >= n:
        ngrams = tokens.unfold(2, n, 1)  # (rows, beams, L - n + 1, n)
        again = (ngrams[..., :-1] == tokens[:, :, None, length - n + 1 :]).all(-1)
        bans = torch.where(again, -torch.inf, torch.inf)
        log_probs.scatter_reduce_(2, ngrams[..., -1], bans, "amin")
    if length < options.min_length:
        log_probs[..., ends] = -torch.inf
    return log_probs


def _likeliest(log_probs, options: DecodingOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that top-k, then top-p leave: values and ids (rows, beams, K), -inf for what does not count.

    K is at least 2: twice as many continuations are drawn as there are beams.
    """
    allowed = min(options.top_k or log_probs.size(2), log_probs.size(2))
    values, index = log_probs.topk(max(allowed, 2), dim=2)
    values = values / options.temperature
    values[..., allowed:] = -torch.inf
    probabilities = values.softmax(-1)
    likelier = probabilities.cumsum(-1) - probabilities
    return values.masked_fill((likelier >= options.top_p) & (options.top_p < 1), -torch.inf), index

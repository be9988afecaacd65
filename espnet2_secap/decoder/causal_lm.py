"""LLaMA or any other causal LM of transformers as the decoder (SECap, Model Architecture)."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers import DynamicCache

from espnet2_secap.decoder.abilities import abilities_of, inputs_of, rows_of_one_length
from espnet2_secap.decoder.beam_sample import beam_sample
from espnet2_secap.decoder.lm import LMDecoder, ranked, until_end
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.transformers_search import transformers_search
from espnet2_secap.errors import SecError
from espnet2_secap.masks import to_the_left
from espnet2_secap.pretrained import load_causal_lm
from espnet2_secap.text.template import Segment


class CausalLMDecoder(LMDecoder):
    """A causal LM, frozen by default, that reads segments and caption as one sequence of embeddings.

    Its arguments are those of LMDecoder.
    """

    task = "CAUSAL_LM"
    auto_class = "AutoModelForCausalLM"

    @classmethod
    def load(cls, path: str, **options):
        """See LMDecoder."""
        return load_causal_lm(path, "decoder_conf path", **options)

    def prepare(self, lm, own) -> None:
        """See LMDecoder."""
        self.abilities = abilities_of(lm)
        if self.abilities.limit is not None:  # beyond it, each token's score would depend on how many follow
            self.limit, self.has_table = self.abilities.limit, True
        self.splits: bool | None = None  # whether logits are the output embedding of the body's states, if known

    @property
    def hard_limit(self) -> int | None:
        """See AbsDecoder: where the LM has a table of positions."""
        return self.limit if self.has_table else None

    def check_length(self, segments: Sequence[Segment], more: int | torch.Tensor = 0) -> None:
        """See AbsDecoder. Where positions are rotary it is a warning, once."""
        widest = more if isinstance(more, int) else more.size(1)
        if self.limit is None or sum(one.mask.size(1) for one in segments) + widest <= self.limit:
            return
        length = int(
            (sum(one.mask.sum(1) for one in segments) + (more if isinstance(more, int) else more.sum(1))).max()
        )
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
        inputs = inputs_of(lm, self.abilities, self._dropped(vectors), mask, logits_to_keep=length + 1)
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
        if free and options.sampling and options.beam_size > 1 and not (options.early_stopping or options.forced_end):
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
            candidates = ranked(
                [until_end(row, ends) for row in found[0].tolist()], found[1].tolist(), options.num_candidates
            )
            for row, *of_row in zip(range(len(mask)) if together else rows.tolist(), *candidates, strict=True):
                sequences[row], scores[row] = of_row
        return sequences, scores

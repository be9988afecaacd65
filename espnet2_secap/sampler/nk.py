"""Batches of N categories x K utterances, as SCCL needs them (SECap, Eq. 5)."""

import random
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated

from espnet2_secap.errors import SecError
from espnet2_secap.values import Count, Range, Seed


class NKSampler:
    """Draws batches of N categories with K utterances each.

    Within an epoch every utterance is used at least once. The categories with the most unused utterances are drawn
    first; when fewer than N categories have unused utterances, others are shuffled and used again. A category with
    fewer than K utterances contributes all of them: no utterance occurs twice in a batch.

    Args:
        utt2category: utterance id -> category.
        num_categories: N. At most the number of categories.
        per_category: K.
        seed: batches depend only on (seed, epoch), so an epoch can be repeated after an interruption.
    """

    def __init__(
        self,
        utt2category: Mapping[str, str],
        num_categories: Annotated[int, Range(least=2)],
        per_category: Count,
        seed: Seed = 0,
    ):
        members = defaultdict(list)
        for utt in sorted(utt2category):
            members[utt2category[utt]].append(utt)
        if num_categories < 2 or per_category < 1:
            raise SecError(
                f"sampler: num_categories={num_categories} and per_category={per_category}, expected N >= 2 and K >= 1"
            )
        if num_categories > len(members):
            raise SecError(
                f"sampler: num_categories={num_categories}, but utt2emo has only {len(members)} categories"
                f" ({', '.join(sorted(members))}); lower num_categories in sampler_conf"
            )
        self.members = dict(members)
        self.num_categories = num_categories
        self.per_category = per_category
        self.seed = seed

    def smallest_batch(self) -> int:
        """The least number of utterances that a batch can have."""
        sizes = sorted(min(self.per_category, len(utts)) for utts in self.members.values())
        return sum(sizes[: self.num_categories])

    def epoch(self, epoch: int) -> list[list[str]]:
        """The batches of one epoch, each a list of at most N * K utterance ids, grouped by category."""
        rng = random.Random(f"{self.seed}-{epoch}")
        left = {category: _shuffled(utts, rng) for category, utts in self.members.items()}
        batches = []
        while any(left.values()):
            order = _shuffled(sorted(left), rng)
            order.sort(key=lambda category: -len(left[category]))
            batches.append(
                [utt for category in order[: self.num_categories] for utt in self._draw(category, left, rng)]
            )
        rng.shuffle(batches)
        return batches

    def _draw(self, category: str, left: dict[str, list[str]], rng: random.Random) -> list[str]:
        size = min(self.per_category, len(self.members[category]))
        drawn, left[category] = left[category][:size], left[category][size:]
        if len(drawn) < size:  # start again: fill up with utterances that are not in this batch; none is left unused
            rest = [utt for utt in self.members[category] if utt not in set(drawn)]
            drawn += rng.sample(rest, size - len(drawn))
        return drawn


def _shuffled(items: list[str], rng: random.Random) -> list[str]:
    items = list(items)
    rng.shuffle(items)
    return items

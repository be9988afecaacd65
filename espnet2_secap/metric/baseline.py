"""Captions made without the audio: the baselines that a system must exceed clearly."""

import random
from collections import Counter
from collections.abc import Iterable

from espnet2_secap.errors import SecError


def random_captions(
    train: dict[str, list[str]], ids: Iterable[str], n_candidates: int, seed: int, same_set: bool = False
) -> dict[str, list[str]]:
    """Training captions drawn at random for each id, without replacement if there are enough.

    The captions of an id depend on the seed, the training captions and that id only, not on the other ids.

    Args:
        same_set: the ids are those of `train`, and not of another set that may count from 0 as well: no utterance is
            given its own captions, which are its references.

    Raises:
        SecError: `n_candidates` below 1.
    """
    if n_candidates < 1:
        raise SecError(f"--n_candidates {n_candidates}: must be at least 1")
    pool = [caption for utt in sorted(train) for caption in train[utt]]
    owners = [utt for utt in sorted(train) for _ in train[utt]] if same_set and len(train) > 1 else []
    drawn = {}
    for utt in ids:
        rng = random.Random(f"{seed} {utt}")
        if owners:
            places = rng.sample(range(len(pool)), min(len(pool), n_candidates + len(train[utt])))
            others = [pool[place] for place in places if owners[place] != utt]
            drawn[utt] = [others[at % len(others)] for at in range(n_candidates)]
            continue
        drawn[utt] = rng.sample(pool, n_candidates) if n_candidates <= len(pool) else rng.choices(pool, k=n_candidates)
    return drawn


def frequent_caption(train: dict[str, list[str]], ids: Iterable[str]) -> dict[str, list[str]]:
    """The most frequent training caption for each id, once (ties: the first in byte order)."""
    counts = Counter(caption for captions in train.values() for caption in captions)
    best = min(counts, key=lambda caption: (-counts[caption], caption.encode("utf-8", "replace")))
    return {utt: [best] for utt in ids}

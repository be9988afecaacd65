"""Captions made without the audio: the baselines that a system must exceed clearly."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping

from espnet2_secap.errors import SecError, few, listed
from espnet2_secap.metric.words import Categories, named

# A sentence around the word for an emotion, by language.
SENTENCES = {"zh": "说话人的情绪是{}。", "en": "The speaker sounds {}.", "ja": "話し手の感情は{}。"}


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


def held_out(references: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Of each utterance the first human caption, and the others to score it against (SECap, Figure 4: human caption).

    Returns:
        captions and references of the utterances that have two or more captions.

    Raises:
        SecError: no utterance has two.
    """
    several = {utt: captions for utt, captions in references.items() if len(captions) > 1}
    if not several:
        raise SecError("no utterance has two human captions: none can be held out and scored against the others")
    return {utt: texts[:1] for utt, texts in several.items()}, {utt: texts[1:] for utt, texts in several.items()}


def label_captions(labels: Mapping[str, str], categories: Categories, sentence: str) -> dict[str, list[str]]:
    """Captions that say a label and nothing else (SECap, Figure 4: human label, SER label).

    Args:
        labels: utterance -> category of `categories`, or a word that names one.
        categories: words of the emotions; the first word of a category is said.
        sentence: with {} where the word stands.

    Raises:
        SecError: labels that are neither; all of them are named.
    """
    found = {
        label: label if label in categories else next(iter(named(label, categories)), None)
        for label in {*labels.values()}
    }
    unknown = sorted(label for label, category in found.items() if category is None)
    if unknown:
        known = few(list(categories), most=30)
        raise SecError(
            f"{listed(unknown, most=50)}: no such emotion in the words file; give --label_map with lines `label"
            f" category` (categories: {known})"
        )
    return {utt: [sentence.format(categories[found[label]][0])] for utt, label in labels.items()}

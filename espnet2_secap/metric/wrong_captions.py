"""Captions of which a share says something wrong, as annotators do: to see what a training makes of them."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet2_secap.metric.ranking import Known, Ranking
from espnet2_secap.metric.rule_pairs import Corpus, Place, swap
from espnet2_secap.metric.words import load_words


def wrong_captions(
    captions: Mapping[str, Sequence[str]], share: float, words: str | Path, seed: int
) -> tuple[dict[str, list[str]], int]:
    """In a share of the captions a word of an attribute is swapped for one of a category that no caption of the
    utterance names. What is drawn depends on the seed, the utterance and the caption's place alone.

    Args:
        captions: id -> captions.
        share: 0 to 1; captions that name no attribute stay as they are.
        words: words file, or a language of the package.
        seed: of the draws.

    Returns:
        the captions, and how many of them are wrong.

    Raises:
        SecError: no such words.
    """
    known = {utt: Known(references=some) for utt, some in captions.items()}
    corpus = Corpus(captions, known.__getitem__, Ranking(load_words(words), facts="references"))
    changed, count = {}, 0
    for utt, some in captions.items():
        changed[utt] = list(some)
        for at, caption in enumerate(some):
            rng = random.Random(f"{seed} wrong {utt} {at}")
            if rng.random() < share and (put := swap(Place(utt, caption, known[utt], corpus, rng))):
                changed[utt][at] = put
                count += 1
    return changed, count

"""Consensus re-ranking: of several candidates, keep those that are most like all of them.

SECap decodes eight candidates and drops the three least like the rest; the choice of one is minimum Bayes risk
decoding (Eikema & Aziz, EMNLP 2020): what most samples agree on says more than the single likeliest sequence.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np


def ngrams(text: str, order: int = 4) -> Counter:
    """Character n-grams of 1 to `order` characters with their counts; blanks do not count."""
    text = "".join(text.split())
    return Counter(text[i : i + n] for n in range(1, order + 1) for i in range(len(text) - n + 1))


def similarity(a: Counter, b: Counter) -> float:
    """Dice coefficient of two multisets of n-grams, 0 to 1; two empty ones are alike."""
    size = a.total() + b.total()
    return 2 * (a & b).total() / size if size else 1.0


def consensus(texts: Sequence[str]) -> tuple[list[int], list[float]]:
    """Order candidates by their mean similarity to all, themselves included.

    Returns:
        indices, the most alike first (of equals the earlier one); mean similarity of each text, in the texts' order.
    """
    times = Counter(texts)  # samples repeat themselves
    grams = {text: ngrams(text) for text in times}
    mean = {
        one: math.fsum(n * similarity(grams[one], grams[other]) for other, n in times.items()) / len(texts)
        for one in times
    }
    means = [mean[text] for text in texts]
    return sorted(range(len(texts)), key=lambda i: -means[i]), means


def consensus_of(similarity: np.ndarray) -> tuple[list[int], list[float]]:
    """Order n candidates by their mean similarity to all, themselves included, from a matrix (n, n).

    Returns:
        indices, the most alike first - of equals the later one, so that dropping the last k drops what SECap's
        argsort drops; mean similarity of each candidate.
    """
    means = np.asarray(similarity, dtype=np.float32).mean(1)
    return means.argsort()[::-1].tolist(), means.tolist()

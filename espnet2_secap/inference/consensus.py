"""Consensus re-ranking: of several candidates, keep those that are most like all of them.

SECap decodes eight candidates and drops the three least like the rest; the choice of one is minimum Bayes risk
decoding (Eikema & Aziz, EMNLP 2020): what most samples agree on says more than the single likeliest sequence. With a
weight for each text, the mean is the expected similarity under these weights, whether they are counts of samples,
probabilities by a model, or how near other utterances are. To the n-grams that two captions share, `Agreement` adds
what they name.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from espnet2_secap.inference.agreement import Agreement
from espnet2_secap.metric.dice import ngrams, similarity


def consensus(texts: Sequence[str], agreement: Agreement | None = None) -> tuple[list[int], list[float]]:
    """Order candidates by their mean similarity to all, themselves included.

    Args:
        agreement: added to the similarity, if any.

    Returns:
        indices, the most alike first (of equals the earlier one); mean similarity of each text, in the texts' order.
    """
    times = Counter(texts)  # samples repeat themselves
    grams = {text: ngrams(text) for text in times}
    mean = {
        one: math.fsum(n * similarity(grams[one], grams[other]) for other, n in times.items()) / len(texts)
        for one in times
    }
    if agreement:
        added = _Named(list(times), agreement).expected(np.array(list(times.values()), dtype=np.float64))
        mean = {text: mean[text] + float(more) for text, more in zip(times, added, strict=True)}
    means = [mean[text] for text in texts]
    return sorted(range(len(texts)), key=lambda i: -round(means[i], 12) if agreement else -means[i]), means


def consensus_of(
    similarity: np.ndarray, texts: Sequence[str] = (), agreement: Agreement | None = None
) -> tuple[list[int], list[float]]:
    """Order n candidates by their mean similarity to all, themselves included, from a matrix (n, n).

    Args:
        texts: the candidates, for their agreement.
        agreement: added to the similarity, if any.

    Returns:
        indices, the most alike first - of equals the later one, so that dropping the last k drops what SECap's
        argsort drops; mean similarity of each candidate.
    """
    means = np.asarray(similarity, dtype=np.float32).mean(1)
    if agreement:
        means = means + _Named(texts, agreement).expected(np.ones(len(texts))).astype(np.float32)
    return means.argsort()[::-1].tolist(), means.tolist()


class _Sets:
    """Sets of items, for the mean Dice coefficient of many of them to all under many weights.

    Two sets without any items have the coefficient 0.

    Args:
        counted: the items of each of R sets, each item once.

    Attributes:
        rows: (R, F), 1 where a set has an item.
        sizes: number of items of each set, (R,).
    """

    def __init__(self, counted: Sequence[Sequence[Hashable]]):
        self._columns: dict[Hashable, int] = {}
        for items in counted:
            for item in items:
                self._columns.setdefault(item, len(self._columns))
        self.rows, self.sizes = self._matrix(counted)

    def _matrix(self, counted: Sequence[Sequence[Hashable]]) -> tuple[csr_matrix, np.ndarray]:
        known = [[self._columns[item] for item in items if item in self._columns] for items in counted]
        ends = np.cumsum([0, *map(len, known)])
        columns = np.fromiter((one for row in known for one in row), dtype=np.int32, count=ends[-1])
        shape = len(known), len(self._columns)
        matrix = csr_matrix((np.ones(len(columns)), columns, ends), shape=shape)
        return matrix, np.array([len(items) for items in counted], dtype=np.float64)

    def expected(
        self, weights: np.ndarray, of: Sequence[Sequence[Hashable]] | None = None, among: np.ndarray | None = None
    ) -> np.ndarray:
        """sum_r w_r Dice(h, r) / sum_r w_r of each set h, (H,); arguments as `TextSet.expected_similarity`.

        The cost grows with the items and not with H * R: sets of one size share their denominator, so that their
        weights are added before the product.
        """
        rows, sizes = (self.rows, self.sizes) if among is None else (self.rows[among], self.sizes[among])
        own, own_sizes = (rows, sizes) if of is None else self._matrix(of)
        different, group = np.unique(sizes, return_inverse=True)
        place = csr_matrix(
            (weights / weights.sum(), (group, np.arange(len(group)))), shape=(len(different), len(group))
        )
        shared = (own @ (place @ rows).T.tocsr()).toarray()  # (H, sizes)
        both = own_sizes[:, None] + different
        return (shared * np.divide(2, both, out=np.zeros_like(both), where=both > 0)).sum(1)


class _Named:
    """What texts name, for their expected agreement; arguments and methods as TextSet."""

    def __init__(self, texts: Sequence[str], agreement: Agreement):
        self.agreement = agreement
        self.sets = [_Sets(named) for named in agreement.named(texts)]

    def expected(
        self, weights: np.ndarray, of: Sequence[str] | None = None, among: np.ndarray | None = None
    ) -> np.ndarray:
        given = [None] * len(self.sets) if of is None else self.agreement.named(of)
        each = [sets.expected(weights, one, among) for sets, one in zip(self.sets, given, strict=True)]
        return self.agreement.weight * np.sum(each, axis=0)


class TextSet:
    """Texts whose n-grams are counted once, for the similarity of many texts to them under many weights.

    An n-gram that occurs twice in a text stands as two items (n-gram, 1) and (n-gram, 2): the items that two texts
    share are then the size of the intersection of the multisets, which a product of sparse matrices counts.

    Args:
        texts: R of them, each once.
        agreement: added to the similarity of n-grams, if any.
    """

    def __init__(self, texts: Sequence[str], agreement: Agreement | None = None):
        self.texts = list(texts)
        self._ngrams = _Sets([_items(text) for text in self.texts])
        self._named = _Named(self.texts, agreement) if agreement else None

    def expected_similarity(
        self, weights: np.ndarray, of: Sequence[str] | None = None, among: np.ndarray | None = None
    ) -> np.ndarray:
        """Weighted mean of the similarity to the texts, sum_r w_r s(h, r) / sum_r w_r, of each hypothesis h.

        s(h, r) is `similarity` of the n-grams, 0 to 1, plus the agreement of the two if there is one.

        Args:
            weights: of the texts, (R,), not negative, with a sum above 0.
            of: the H hypotheses; the texts themselves if none.
            among: indices (M,) of the texts that count, with weights (M,) then; without `of`, they are the hypotheses.

        Returns:
            (H,)
        """
        found = self._ngrams.expected(weights, None if of is None else [_items(text) for text in of], among)
        return found + self._named.expected(weights, of, among) if self._named else found


def _items(text: str) -> list[tuple[str, int]]:
    """The n-grams of a text, numbered among those that are equal; one item of its own where there are none."""
    items = [(gram, at) for gram, count in ngrams(text).items() for at in range(count)]
    return items or [("", 0)]

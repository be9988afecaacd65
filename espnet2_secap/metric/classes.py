"""Accuracy of categories: unweighted, weighted, macro F1 and confusion matrix, of two lists of labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Confusion:
    """How often each predicted category stands beside each true one.

    Args:
        labels: the categories, the true ones first, each group sorted.
        counts: (true, predicted) -> utterances; a prediction may be None: no category was named.
    """

    labels: list[str]
    counts: dict[tuple[str, str | None], int]

    def of(self, true: str) -> int:
        """Utterances of a true category."""
        return sum(n for (one, _), n in self.counts.items() if one == true)

    def named(self, predicted: str) -> int:
        """Utterances for which a category is predicted."""
        return sum(n for (_, one), n in self.counts.items() if one == predicted)

    def right(self, label: str) -> int:
        """Utterances of a category for which it is predicted."""
        return self.counts.get((label, label), 0)

    def true_labels(self) -> list[str]:
        """Categories that some utterance has."""
        return [label for label in self.labels if self.of(label)]


def confusion(true: Sequence[str], predicted: Sequence[str | None]) -> Confusion:
    """Count pairs of true and predicted categories of N utterances.

    Raises:
        ValueError: lists of different lengths.
    """
    counts = Counter(zip(true, predicted, strict=True))
    there = set(true)
    return Confusion([*sorted(there), *sorted(set(predicted) - there - {None})], dict(counts))


def unweighted_accuracy(table: Confusion) -> float:
    """UA: mean over the true categories of the share that is right (recall), 0 to 1."""
    labels = table.true_labels()
    return sum(table.right(label) / table.of(label) for label in labels) / len(labels)


def weighted_accuracy(table: Confusion) -> float:
    """WA: share of all utterances that is right, 0 to 1: categories count as often as they occur."""
    return sum(table.right(label) for label in table.labels) / sum(table.counts.values())


def macro_f1(table: Confusion) -> float:
    """Mean over the true categories of 2 right / (true + predicted), 0 to 1."""
    labels = table.true_labels()
    return sum(2 * table.right(label) / (table.of(label) + table.named(label)) for label in labels) / len(labels)

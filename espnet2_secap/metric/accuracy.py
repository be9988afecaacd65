"""Unweighted accuracy of attributes: an utterance's true category against the first one that its caption names."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    References,
    ScoreFunction,
    Scores,
    Sums,
    mean_of_known,
    nothing_known,
)
from espnet2_secap.metric.words import named

if TYPE_CHECKING:
    import numpy as np


def true_category(attribute: str, context: Context, utt: str, references: References) -> str | None:
    """The utterance's only category: the label file's, else the one that most references name (of equals: the one named
    first), None if it is not known."""
    if attribute in context.truth:
        return next(iter(context.truth[attribute].get(utt, ())), None)
    categories = context.words[attribute]
    counts = Counter(category for caption in references[utt] for category in named(caption, categories))
    return max(counts, key=counts.__getitem__, default=None)


def accuracy(attribute: str) -> Callable[[Context], ScoreFunction]:
    """Unweighted accuracy (UAR, the unweighted average recall of Schuller et al., Interspeech 2009).

    The prediction is the first category that the caption names; a caption that names none is wrong. The corpus value is
    the mean over the true categories of the share of their utterances that is right: by chance 100 / categories,
    however rare some are. An utterance's value is 100 or 0, or None if its truth is not known.
    """
    sums = accuracy_sums(attribute)

    def make(context: Context) -> ScoreFunction:
        context.categories(attribute)  # before anything is scored

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            numbers = sums.numbers(context, references, hypotheses)
            known = [row for row in numbers.values() if any(row)]
            if not known:
                raise nothing_known(attribute)
            import numpy as np

            half = len(known[0]) // 2
            each = {utt: 100.0 * sum(row[half:]) if any(row) else None for utt, row in numbers.items()}
            return float(sums.value(np.array(known).sum(0))), each

        return score

    return make


def weighted_accuracy(attribute: str) -> Callable[[Context], ScoreFunction]:
    """Weighted accuracy (WA): the share of all utterances whose caption names the true category first.

    As `accuracy`, but categories count as often as they occur.
    """

    def make(context: Context) -> ScoreFunction:
        unweighted = accuracy(attribute)(context)
        return lambda references, hypotheses: mean_of_known(unweighted(references, hypotheses)[1], attribute)

    return make


def accuracy_sums(attribute: str) -> Sums:
    """What unweighted accuracy sums: for each category how many utterances have it, and how many of these are right."""

    def numbers(context: Context, references: References, hypotheses: Hypotheses) -> dict[str, list[float]]:
        categories = context.words[attribute]
        found = {}
        for utt, caption in hypotheses.items():
            true = true_category(attribute, context, utt, references)
            right = true is not None and next(iter(named(caption, categories)), None) == true
            here = [float(category == true) for category in categories]
            found[utt] = [*here, *(one * right for one in here)]
        return found

    return Sums(numbers, _mean_share, needs_words=True)


def _mean_share(sums: "np.ndarray") -> "np.ndarray":
    """(..., 2 categories) -> (...): a category that no utterance has is left out; NaN if there is none at all."""
    import numpy as np

    half = sums.shape[-1] // 2
    counts, right = sums[..., :half], sums[..., half:]
    there = counts > 0
    with np.errstate(invalid="ignore"):
        return 100 * (right / np.where(there, counts, 1)).sum(-1) / there.sum(-1)

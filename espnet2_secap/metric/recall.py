"""Recall and hallucination of attributes (emotion, rate, ...): true and false categories that a caption names."""

from collections.abc import Callable

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    References,
    ScoreFunction,
    Scores,
    nothing_known,
)
from espnet2_secap.metric.words import named


def recall(attribute: str) -> Callable[[Context], ScoreFunction]:
    """|true and named| / |true| per utterance; see `_mean_over_known`."""
    return _mean_over_known(attribute, lambda true, stated: 100 * len(true & stated) / len(true))


def hallucination(attribute: str) -> Callable[[Context], ScoreFunction]:
    """100 if the caption names a category that is not true of the utterance, else 0; see `_mean_over_known`."""
    return _mean_over_known(attribute, lambda true, stated: 100.0 * bool(stated - true))


def _mean_over_known(
    attribute: str, value: Callable[[set[str], set[str]], float]
) -> Callable[[Context], ScoreFunction]:
    """`value(true categories, named categories)` per utterance, and its mean over the utterances whose truth is known.

    The truth is `context.truth[attribute]`; without that entry it is the union of the categories that the references
    name.
    """

    def make(context: Context) -> ScoreFunction:
        categories = context.categories(attribute)

        def true_of(utt: str, references: References) -> set[str]:
            if attribute in context.truth:
                return set(context.truth[attribute].get(utt, ()))
            return {category for caption in references[utt] for category in named(caption, categories)}

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            each: dict[str, float | None] = {}
            for utt, caption in hypotheses.items():
                true = true_of(utt, references)
                each[utt] = value(true, set(named(caption, categories))) if true else None
            known = [one for one in each.values() if one is not None]
            if not known:
                raise nothing_known(attribute)
            return sum(known) / len(known), each

        return score

    return make

"""Recall and hallucination of attributes (emotion, rate, ...): true and false categories that a caption names."""

from collections.abc import Callable

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    References,
    ScoreFunction,
    Scores,
    mean_of_known,
)
from espnet2_secap.metric.words import named


def recall(attribute: str) -> Callable[[Context], ScoreFunction]:
    """|true and named| / |true| per utterance; see `over_known`."""
    return _of(attribute, lambda true, stated: 100 * len(true & stated) / len(true))


def hallucination(attribute: str) -> Callable[[Context], ScoreFunction]:
    """100 if the caption names a category that is not true of the utterance, else 0; see `over_known`."""
    return _of(attribute, lambda true, stated: 100.0 * bool(stated - true))


def _of(attribute: str, value: Callable[[set[str], set[str]], float]) -> Callable[[Context], ScoreFunction]:
    return lambda context: over_known(context, attribute, context.categories(attribute), value)


def over_known(
    context: Context, attribute: str, categories: dict[str, list[str]], value: Callable[[set[str], set[str]], float]
) -> ScoreFunction:
    """`value(true categories, named categories)` per utterance, and its mean over the utterances whose truth is known.

    The truth is `context.truth[attribute]`; without that entry it is the union of the categories that the references
    name.
    """

    def true_of(utt: str, references: References) -> set[str]:
        if attribute in context.truth:
            return set(context.truth[attribute].get(utt, ()))
        return {category for caption in references[utt] for category in named(caption, categories)}

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, caption in hypotheses.items():
            true = true_of(utt, references)
            each[utt] = value(true, set(named(caption, categories))) if true else None
        return mean_of_known(each, attribute)

    return score

"""Metrics that know the training captions: CIDEr without stock captions, and how many captions are copies.

A corpus may have stock captions, which describe many recordings word for word. One exact copy of such a caption is
worth many points of CIDEr, whatever the recording.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.ngram import cider
from espnet2_secap.metric.normalize import says_something


def _counts(context: Context) -> Callable[[str], Counter[str]]:
    """id -> how often each caption occurs in its training set; white space is ignored."""
    train = context.train
    if train is None:
        raise MetricUnavailable("needs the training captions (--train_captions)")
    if not isinstance(train, Mapping):
        counts = Counter(map(_plain, train))
        return lambda utt: counts
    sets = {id(texts): texts for texts in train.values()}  # the utterances of a fold have one list
    of_set = {key: Counter(map(_plain, texts)) for key, texts in sets.items()}
    return lambda utt: of_set[id(train[utt])] if utt in train else Counter()


def _plain(caption: str) -> str:
    return "".join(caption.split())


def cider_unseen(context: Context) -> ScoreFunction:
    """The mean of CIDEr's values over the utterances none of whose references occurs more than once in training.

    Document frequencies are those of the whole set, so that an utterance's value is that of `cider`.
    """
    counts, whole = _counts(context), cider(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        stock = {utt for utt in hypotheses if any(counts(utt)[_plain(text)] > 1 for text in references[utt])}
        if len(stock) == len(hypotheses):
            raise MetricUnavailable("every utterance has a reference that occurs more than once in training")
        each = {utt: None if utt in stock else value for utt, value in whole(references, hypotheses)[1].items()}
        known = [value for value in each.values() if value is not None]
        return sum(known) / len(known), each

    return score


def copies(context: Context) -> ScoreFunction:
    """The percentage of captions that equal a training caption; an empty caption is no copy."""
    counts = _counts(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each = {utt: 100.0 * (says_something(text) and _plain(text) in counts(utt)) for utt, text in hypotheses.items()}
        return sum(each.values()) / len(each), dict(each)

    return score


METRICS = [
    Metric("cider_unseen", "CIDEr w/o stock", cider_unseen),
    Metric("copies", "copies", copies, neutral=True),
]

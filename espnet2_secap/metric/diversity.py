"""How much a system's captions differ from each other: distinct n-grams (Li et al., NAACL 2016), distinct captions."""

from collections.abc import Callable

from espnet2_secap.metric.abs_metric import Context, Hypotheses, Metric, References, ScoreFunction, Scores
from espnet2_secap.metric.normalize import says_something


def distinct(order: int) -> Callable[[Context], ScoreFunction]:
    """Distinct n-grams as a percentage of all n-grams: over all captions (corpus value) and within each caption.

    The corpus value is multiplied by the share of captions that have tokens: saying less is no diversity.
    """

    def make(context: Context) -> ScoreFunction:
        def score(references: References, hypotheses: Hypotheses) -> Scores:
            every, each, filled = [], {}, 0
            for utt, caption in hypotheses.items():
                tokens = context.segment(caption).split()
                filled += bool(tokens)
                ngrams = [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]
                every += ngrams
                each[utt] = 100 * len(set(ngrams)) / len(ngrams) if ngrams else None
            share = filled / len(hypotheses)
            return 100 * len(set(every)) / len(every) * share if every else 0.0, each

        return score

    return make


def different_captions(context: Context) -> ScoreFunction:
    """Distinct captions as a percentage of the utterances; white space is ignored, and an empty caption is none."""

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        texts = {"".join(caption.split()) for caption in hypotheses.values() if says_something(caption)}
        return 100 * len(texts) / len(hypotheses), dict.fromkeys(hypotheses)

    return score


def vocabulary(context: Context) -> ScoreFunction:
    """Number of distinct tokens in all captions, and in each: a count, not per cent."""

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        tokens = {utt: set(context.segment(caption).split()) for utt, caption in hypotheses.items()}
        return float(len(set().union(*tokens.values()))), {utt: float(len(own)) for utt, own in tokens.items()}

    return score


def reference_vocabulary(context: Context) -> ScoreFunction:
    """Number of distinct tokens to compare `vocabulary` with: of one reference per utterance.

    The expected number where one is drawn of each utterance's, sum over tokens of 1 - prod over utterances of the share
    of references without the token. aac-metrics (vocab.mrefs_avg) takes the mean of a few draws instead.
    """

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        absent: dict[str, float] = {}
        each: dict[str, float | None] = {}
        for utt in hypotheses:
            own = [set(context.segment(text).split()) for text in references[utt]]
            each[utt] = sum(map(len, own)) / len(own)
            for token in set().union(*own):
                share = sum(token not in one for one in own) / len(own)
                absent[token] = absent.get(token, 1.0) * share
        return sum(1 - one for one in absent.values()), each

    return score


METRICS = [
    Metric("distinct_1", "distinct-1", distinct(1), counts_distinct=True),
    Metric("distinct_2", "distinct-2", distinct(2), counts_distinct=True),
    Metric("vocabulary", "vocabulary", vocabulary, counts_distinct=True, neutral=True),
    Metric(
        "vocabulary_references", "vocabulary of references", reference_vocabulary, counts_distinct=True, neutral=True
    ),
    Metric("different_captions", "different captions", different_captions, counts_distinct=True),
]

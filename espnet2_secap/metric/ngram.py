"""BLEU, ROUGE-L and CIDEr as pycocoevalcap computes them, on the tokens of the chosen segmentation."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
    Sums,
)

if TYPE_CHECKING:
    import numpy as np


def _tokens(context: Context, references: References, hypotheses: Hypotheses) -> tuple[dict, dict]:
    """The two arguments of pycocoevalcap's `compute_score`, with the same ids in the same order."""
    segment = context.segment
    return (
        {utt: [segment(caption) for caption in references[utt]] for utt in hypotheses},
        {utt: [segment(caption)] for utt, caption in hypotheses.items()},
    )


def _percent(corpus: float, each, hypotheses: Hypotheses) -> Scores:
    return 100 * float(corpus), {utt: 100 * float(value) for utt, value in zip(hypotheses, each, strict=True)}


def bleu(order: int) -> Callable[[Context], ScoreFunction]:
    """BLEU-`order` with the closest reference length; no smoothing per utterance.

    Where no caption has `order` tokens the corpus value is 0, not the up to 3 per cent that the coco tools' constants
    against 0 / 0 give; where no reference has, there is none.
    """

    def make(context: Context) -> ScoreFunction:
        from pycocoevalcap.bleu.bleu import Bleu

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            tokens = _tokens(context, references, hypotheses)
            if not any(len(text.split()) >= order for texts in tokens[0].values() for text in texts):
                raise MetricUnavailable(f"no reference has {order} tokens")
            corpus, each = Bleu(order).compute_score(*tokens, verbose=0)
            has_any = any(len(text.split()) >= order for (text,) in tokens[1].values())
            return _percent(corpus[-1] if has_any else 0.0, each[-1], hypotheses)

        return score

    return make


def bleu_counts(context: Context, references: References, hypotheses: Hypotheses) -> dict[str, list[float]]:
    """The counts that BLEU sums: matched n-grams (n = 1 to 4), all n-grams (4), length, closest reference length."""
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    tokens, captions = _tokens(context, references, hypotheses)
    counts = {}
    for utt, (caption,) in captions.items():
        found = cook_test(caption, cook_refs(tokens[utt]), eff="closest")
        counts[utt] = [*found["correct"], *found["guess"], found["testlen"], found["reflen"]]
    return counts


def bleu_of_counts(order: int) -> Callable[["np.ndarray"], "np.ndarray"]:
    """BLEU-`order` of summed `bleu_counts` (..., 10), with the coco tools' small constants against 0 / 0."""

    def value(sums: "np.ndarray") -> "np.ndarray":
        import numpy as np

        precisions = (sums[..., :order] + 1e-15) / (sums[..., 4 : 4 + order] + 1e-9)
        precisions = np.where(sums[..., 4 : 4 + order] > 0, precisions, 0.0)  # as in `bleu`
        ratio = (sums[..., 8] + 1e-15) / (sums[..., 9] + 1e-9)
        return 100 * precisions.prod(-1) ** (1 / order) * np.exp(np.minimum(0, 1 - 1 / ratio))

    return value


def rouge_l(context: Context) -> ScoreFunction:
    """F-measure of the longest common subsequence (beta 1.2), mean over the utterances.

    A caption without tokens has 0, where the coco tools give it 100 if a reference has none, either.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        tokens = _tokens(context, references, hypotheses)
        corpus, each = Rouge().compute_score(*tokens)
        empty = [not text for (text,) in tokens[1].values()]
        if any(empty):
            each[empty] = 0.0
            corpus = each.mean()
        return _percent(corpus, each, hypotheses)

    return score


def cider(context: Context) -> ScoreFunction:
    """CIDEr-D; document frequencies are those of the references of the scored set.

    An n-gram that the references of every utterance have weighs nothing, and so do all where there is one utterance
    only, or where all have the same references: there the coco tools give 0 to any caption, and here there is no value.
    """
    from pycocoevalcap.cider.cider import Cider

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        tokens = _tokens(context, references, hypotheses)
        ngrams = (frozenset(_ngrams(texts)) for texts in tokens[0].values())
        first = next(ngrams, None)
        if all(other == first for other in ngrams):
            few = "there is one utterance only" if len(tokens[0]) == 1 else "the references of all utterances are alike"
            raise MetricUnavailable(f"its weights (idf) are all zero, since {few}")
        return _percent(*Cider().compute_score(*tokens), hypotheses)

    return score


def _ngrams(texts: list[str]) -> Iterator[tuple[str, ...]]:
    """The 1- to 4-grams of an utterance's references."""
    for text in texts:
        words = text.split()
        yield from (tuple(words[at : at + n]) for n in range(1, 5) for at in range(len(words) - n + 1))


METRICS = [
    *(
        Metric(f"bleu_{order}", f"BLEU-{order}", bleu(order), sums=Sums(bleu_counts, bleu_of_counts(order)))
        for order in range(1, 5)
    ),
    Metric("rouge_l", "ROUGE-L", rouge_l),
    Metric("cider", "CIDEr", cider),
]

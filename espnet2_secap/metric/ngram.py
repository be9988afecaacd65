"""BLEU, ROUGE-L and CIDEr as pycocoevalcap computes them, on the tokens of the chosen segmentation."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from espnet2_secap.metric.abs_metric import Context, Hypotheses, Metric, References, ScoreFunction, Scores, Sums

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
    """BLEU-`order` with the closest reference length; no smoothing per utterance."""

    def make(context: Context) -> ScoreFunction:
        from pycocoevalcap.bleu.bleu import Bleu

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            tokens = _tokens(context, references, hypotheses)
            corpus, each = Bleu(order).compute_score(*tokens, verbose=0)
            return _percent(corpus[-1], each[-1], hypotheses)

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
        ratio = (sums[..., 8] + 1e-15) / (sums[..., 9] + 1e-9)
        return 100 * precisions.prod(-1) ** (1 / order) * np.exp(np.minimum(0, 1 - 1 / ratio))

    return value


def rouge_l(context: Context) -> ScoreFunction:
    """F-measure of the longest common subsequence (beta 1.2), mean over the utterances."""
    from pycocoevalcap.rouge.rouge import Rouge

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        return _percent(*Rouge().compute_score(*_tokens(context, references, hypotheses)), hypotheses)

    return score


def cider(context: Context) -> ScoreFunction:
    """CIDEr-D; document frequencies are those of the references of the scored set."""
    from pycocoevalcap.cider.cider import Cider

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        return _percent(*Cider().compute_score(*_tokens(context, references, hypotheses)), hypotheses)

    return score


METRICS = [
    *(
        Metric(f"bleu_{order}", f"BLEU-{order}", bleu(order), sums=Sums(bleu_counts, bleu_of_counts(order)))
        for order in range(1, 5)
    ),
    Metric("rouge_l", "ROUGE-L", rouge_l),
    Metric("cider", "CIDEr", cider),
]

"""BERTScore (Zhang et al., ICLR 2020): tokens of caption and reference matched by their contextual embeddings."""

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.normalize import says_something

# The layers that bert_score uses; for other models the last layer, or MODEL@LAYER.
LAYERS = {"bert-base-chinese": 8, "bert-base-uncased": 9, "bert-base-multilingual-cased": 9, "roberta-large": 17}
UTTERANCES = 64  # number whose token vectors are in memory at the same time


def bertscore(context: Context) -> ScoreFunction:
    """F1 of the greedy matching, without idf and without rescaling; the best of the references counts.

    Special tokens can be matched but are not averaged, as in the package bert_score. A caption that says nothing
    scores 0.
    """
    given = context.given("bertscore", "BERT")
    from espnet2_secap.text.sentence import SentenceEncoder

    name, _, layer = given.rpartition("@")
    if not name or not layer.isdecimal():
        name, layer = given, LAYERS.get(given)
    encoder = SentenceEncoder(name, context.device, layer=None if layer is None else int(layer))

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        utts, each = list(hypotheses), {}
        for start in range(0, len(utts), UTTERANCES):
            part = utts[start : start + UTTERANCES]
            vectors = encoder.tokens([text for utt in part for text in [hypotheses[utt], *references[utt]]])
            for utt in part:
                best = max(f1(vectors[hypotheses[utt]], vectors[one]) for one in references[utt])
                each[utt] = 100 * best if says_something(hypotheses[utt]) else 0.0
        return sum(each.values()) / len(each), each

    return score


def f1(hypothesis, reference) -> float:
    """F1, 0 to 1, of two pairs of unit vectors (L, H) and a mask (L,) of the tokens that are averaged."""
    (a, a_counts), (b, b_counts) = hypothesis, reference
    if not (a_counts.any() and b_counts.any()):
        return 0.0
    similar = a @ b.T
    precision = similar.amax(1)[a_counts].mean().item()
    recall = similar.amax(0)[b_counts].mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


METRICS = [Metric("bertscore", "BERTScore", bertscore)]

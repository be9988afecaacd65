"""SIM1 and SIM2: cosine of a caption's and a reference's sentence embeddings (SECap, Table 2)."""

from collections.abc import Callable

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)


def similarity(name: str) -> Callable[[Context], ScoreFunction]:
    """Cosine to the nearest reference, by the model that `context.models[name]` names; mean over the utterances."""

    def make(context: Context) -> ScoreFunction:
        if name not in context.models:
            raise MetricUnavailable(f"no sentence encoder given; name one by --{name} FOLDER_OR_HUB_NAME")
        from espnet2_secap.text.sentence import SentenceEncoder, cosine

        encoder = SentenceEncoder(context.models[name])

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            utts = list(hypotheses)
            texts = sorted({text for utt in utts for text in [hypotheses[utt], *references[utt]]})
            row = {text: i for i, text in enumerate(texts)}
            vectors = encoder(texts)
            each = {
                utt: 100
                * float(cosine(vectors[[row[hypotheses[utt]]]], vectors[[row[one] for one in references[utt]]]).max())
                for utt in utts
            }
            return sum(each.values()) / len(each), each

        return score

    return make


METRICS = [Metric("sim1", "SIM1", similarity("sim1")), Metric("sim2", "SIM2", similarity("sim2"))]

"""All metrics by name.

To add a metric, write a module with a list METRICS of `Metric` (abs_metric.py) and add it here. Heavy imports (torch,
transformers) belong in `make` or in the function that it returns.
"""

from espnet2_secap.errors import SecError
from espnet2_secap.metric import bertscore, diversity, meteor, ngram, similarity, spice
from espnet2_secap.metric.abs_metric import Metric
from espnet2_secap.metric.recall import hallucination, recall

METRICS: dict[str, Metric] = {
    metric.name: metric
    for module in (ngram, meteor, spice, similarity, bertscore, diversity)
    for metric in module.METRICS
}
# The order of the columns. For each attribute of the words file there are
# <attribute>_recall and <attribute>_hallucination.
ORDER = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider", "spice", "spider"]
ORDER += ["sim1", "sim2", "bertscore", "emotion_recall", "rate_recall", "volume_recall"]
# The others take minutes and a parser, or need a model: they run only on request.
DEFAULT = [name for name in ORDER if name not in ("spice", "spider", "sim1", "sim2", "bertscore")]
BY_ATTRIBUTE = {"recall": (recall, False), "hallucination": (hallucination, True)}  # True: lower is better


def find_metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        SecError: there is no such metric; the message lists all.
    """
    if name in METRICS:
        return METRICS[name]
    for kind, (make, lower_is_better) in BY_ATTRIBUTE.items():
        attribute = name.removesuffix(f"_{kind}")
        if attribute not in ("", name):
            return Metric(name, f"{attribute} {kind}", make(attribute), lower_is_better)
    known = ", ".join([*METRICS, *(f"<attribute>_{kind}" for kind in BY_ATTRIBUTE)])
    raise SecError(f"--metrics: no metric {name!r}; choose from: {known}")


def column_order(names) -> list[str]:
    """Names of metrics in the order of the tables: first those of ORDER, then the others by name."""
    return sorted(set(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

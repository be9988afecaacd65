"""All metrics by name.

To add a metric, write a module with a list METRICS of `Metric` (abs_metric.py) and add its name to MODULES.
Heavy imports (torch, transformers) belong in `make` or in the function that it returns.
"""

from functools import cache
from importlib import import_module

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Metric
from espnet2_secap.metric.accuracy import accuracy, accuracy_sums, weighted_accuracy
from espnet2_secap.metric.hallucination import coverage, factuality
from espnet2_secap.metric.recall import hallucination, recall

MODULES = (
    "ngram", "meteor", "spice", "similarity", "bertscore", "fluency", "clap", "judged", "vad", "diversity", "stock",
    "hallucination",
)  # fmt: skip
METRICS: dict[str, Metric] = {
    metric.name: metric for name in MODULES for metric in import_module(f"{__package__}.{name}").METRICS
}
# The order of the columns. For each attribute of the words file there are
# <attribute>_recall, <attribute>_hallucination, ...: see _BY_ATTRIBUTE.
ORDER = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider", "cider_unseen", "copies"]
MODELS = ["sim1", "sim2", "bertscore", "fer", "sbert_sim", "fense", "spider_fl", "clap_text", "clap_audio"]
MODELS += ["judge", "judge_agreement", "judge_preference", "judge_preference_agreement"]
ORDER += ["spice", "spider", *MODELS]
ORDER += ["emotion_recall", "emotion_quadrant_accuracy", "emotion_ser6_recall", "rate_recall", "volume_recall"]
HALLUCINATION = ["hallucination_factuality", "coverage", "wrong_share", "hallucination_faithfulness"]
ORDER += HALLUCINATION
WITH_TRAIN = ["cider_unseen", "copies"]  # computed by default where the training captions are given
WITH_GROUPS = ["emotion_quadrant_accuracy", "emotion_ser6_recall"]  # ... where the words file has these groups
# The others take minutes and a parser, or need a model: they run only on request.
DEFAULT = [name for name in ORDER if name not in ("spice", "spider", *MODELS, *WITH_TRAIN, *HALLUCINATION)]
_BY_ATTRIBUTE = {
    "recall": lambda attribute: {"make": recall(attribute)},
    "hallucination": lambda attribute: {"make": hallucination(attribute), "lower_is_better": True},
    "hallucination_factuality": lambda attribute: {"make": factuality((attribute,)), "lower_is_better": True},
    "coverage": lambda attribute: {"make": coverage((attribute,)), "neutral": True},
    "wa": lambda attribute: {"make": weighted_accuracy(attribute)},
    "accuracy": lambda attribute: {"make": accuracy(attribute), "sums": accuracy_sums(attribute)},
}


def attribute_of(name: str) -> str | None:
    """The attribute that a metric is about (`emotion` of `emotion_recall`), or None."""
    kind = _kind_of(name)
    return name.removesuffix(f"_{kind}") if kind else None


def _kind_of(name: str) -> str | None:
    """The longest ending that is a kind of metric of any attribute, or None."""
    fits = [kind for kind in _BY_ATTRIBUTE if name.endswith(f"_{kind}") and name != f"_{kind}" and name not in METRICS]
    return max(fits, key=len, default=None)


@cache
def find_metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        SecError: there is no such metric; the message lists all.
    """
    if name in METRICS:
        return METRICS[name]
    if attribute := attribute_of(name):
        kind = _kind_of(name)
        return Metric(name, f"{attribute} {kind}".replace("_", " "), **_BY_ATTRIBUTE[kind](attribute))
    known = ", ".join([*METRICS, *(f"<attribute>_{kind}" for kind in _BY_ATTRIBUTE)])
    raise SecError(f"--metrics: no metric {name!r}; choose from: {known}")


def column_order(names) -> list[str]:
    """Names of metrics in the order of the tables: first those of ORDER, then the others by name."""
    return sorted(set(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

"""All metrics by name.

To add one: write a module with a list METRICS of `Metric` (abs_metric.py) and name it here. Heavy imports (torch,
transformers) belong into `make` or the function it returns.
"""

from espnet2_secap.errors import SecError
from espnet2_secap.metric import meteor, ngram
from espnet2_secap.metric.abs_metric import Metric
from espnet2_secap.metric.recall import recall

METRICS: dict[str, Metric] = {metric.name: metric for metric in [*ngram.METRICS, *meteor.METRICS]}
# The order of the columns. A recall exists for each attribute of the words file: <attribute>_recall.
DEFAULT = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider"]
DEFAULT += ["emotion_recall", "rate_recall", "volume_recall"]
_RECALL = "_recall"


def find_metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        SecError: there is none; the message lists what there is.
    """
    if name in METRICS:
        return METRICS[name]
    if name.endswith(_RECALL) and name != _RECALL:
        attribute = name[: -len(_RECALL)]
        return Metric(name, f"{attribute} recall", recall(attribute))
    known = ", ".join([*METRICS, "<attribute>_recall"])
    raise SecError(f"--metrics: no metric {name!r}; choose from: {known}")


def column_order(names) -> list[str]:
    """Names of metrics in the order of the tables: the default ones first, then the others by name."""
    return sorted(set(names), key=lambda name: (DEFAULT.index(name) if name in DEFAULT else len(DEFAULT), name))

import dataclasses

import pytest

from espnet2_secap.metric.abs_metric import Context, Metric
from espnet2_secap.metric.registry import METRICS


def test_two_contexts_share_nothing():
    first, second = Context(str.upper), Context(str.upper)
    first.shared["spice"] = object()
    assert second.shared == {} and first.segment("a") == "A"


def test_a_metric_cannot_be_changed():
    metric = Metric("length", "length", lambda context: lambda references, hypotheses: (0.0, {}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.label = "other"
    assert (metric.lower_is_better, metric.sums, metric.counts_distinct, metric.neutral) == (False, None, False, False)


@pytest.mark.parametrize(
    "name", [name for name in METRICS if name.startswith(("bleu", "rouge", "cider", "copies", "dis", "dif"))]
)
def test_scores_of_a_metric_keep_the_contract(name):
    """A corpus value in per cent, and a value or None for exactly the scored ids."""
    references = {"a": ["高兴 地 说 话"], "b": ["很 悲伤", "语气 低沉"]}
    score = METRICS[name].make(Context(lambda caption: " ".join(caption.split()), train=["很 悲伤"]))
    corpus, each = score(references, {"b": "很 悲伤", "a": "高兴 地 说 话"})
    assert isinstance(corpus, float) and each.keys() == references.keys()
    assert all(value is None or 0 <= value <= 1000 for value in each.values())

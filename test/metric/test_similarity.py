import json

import pytest

from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char


def test_sim_of_the_released_code(shared):
    folder = shared / "fixtures" / "secap_tiny"
    sim = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["sim"]
    score = find_metric("sim1").make(Context(segment_char, models={"sim1": str(folder / "weights" / "text2vec")}))
    references = {str(i): [right] for i, (_, right) in enumerate(sim["pairs"])}
    hypotheses = {str(i): left for i, (left, _) in enumerate(sim["pairs"])}
    corpus, each = score(references, hypotheses)
    assert list(each.values()) == pytest.approx([100 * value for value in sim["values"]], abs=1e-3)
    assert corpus == pytest.approx(100 * sum(sim["values"]) / len(sim["values"]), abs=1e-3)
    # of several references the nearest counts
    one = sim["pairs"][0][0]
    assert score({"a": ["悲伤", one]}, {"a": one})[0] == pytest.approx(100, abs=1e-3)


def test_without_a_model_it_says_how_to_name_one():
    with pytest.raises(MetricUnavailable, match="--sim2"):
        find_metric("sim2").make(Context(segment_char))

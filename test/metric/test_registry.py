import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.registry import DEFAULT, METRICS, column_order, find_metric


def test_every_metric_has_its_own_name_and_label():
    found = [find_metric(name) for name in [*METRICS, *DEFAULT]]
    assert [metric.name for metric in found] == [*METRICS, *DEFAULT]
    assert len({metric.label for metric in found}) == len(set(METRICS) | set(DEFAULT))


def test_recall_of_any_attribute():
    assert find_metric("pitch_recall").label == "pitch recall"


@pytest.mark.parametrize("name", ["blue_1", "_recall", ""])
def test_unknown_name_lists_the_known(name):
    with pytest.raises(SecError, match="choose from: bleu_1, .*meteor.*<attribute>_recall"):
        find_metric(name)


def test_columns_come_in_one_order():
    names = ["volume_recall", "age_recall", "spider", "cider", "bleu_1", "spice", "cider"]
    assert column_order(names) == ["bleu_1", "cider", "spice", "spider", "volume_recall", "age_recall"]

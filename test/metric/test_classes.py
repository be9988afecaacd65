import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from espnet2_secap.metric.classes import confusion, macro_f1, unweighted_accuracy, weighted_accuracy


def test_by_hand():
    #        angry: 3 of 4      happy: 1 of 2, one not named   sad: 0 of 1
    true = ["angry", "angry", "angry", "angry", "happy", "happy", "sad"]
    said = ["angry", "angry", "angry", "happy", "happy", None, "calm"]
    table = confusion(true, said)
    assert table.labels == ["angry", "happy", "sad", "calm"] and table.true_labels() == ["angry", "happy", "sad"]
    assert table.counts[("happy", None)] == 1 and table.of("angry") == 4 and table.named("happy") == 2
    assert unweighted_accuracy(table) == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert weighted_accuracy(table) == pytest.approx(4 / 7)
    assert macro_f1(table) == pytest.approx((2 * 3 / (4 + 3) + 2 * 1 / (2 + 2) + 0) / 3)


def test_equal_to_scikit_learn():
    true = list("abcabcaabbbcccca")
    said = list("abccbaaabbacccab")
    table = confusion(true, said)
    assert unweighted_accuracy(table) == pytest.approx(balanced_accuracy_score(true, said))
    assert macro_f1(table) == pytest.approx(f1_score(true, said, average="macro"))


def test_lists_of_different_lengths():
    with pytest.raises(ValueError):
        confusion(["a"], ["a", "b"])

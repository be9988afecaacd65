import numpy as np
import pytest

from espnet2_secap.inference.consensus import TextSet, consensus, ngrams, similarity


def test_similarity_by_hand():
    # 高兴 has 高 兴 高兴; 很高兴 has 很 高 兴 很高 高兴 很高兴: three of both, 2 * 3 / (3 + 6)
    assert similarity(ngrams("高兴"), ngrams("很高兴")) == pytest.approx(2 / 3)
    assert similarity(ngrams("高 兴"), ngrams("高兴")) == 1
    assert similarity(ngrams("高兴"), ngrams("悲伤")) == 0
    assert similarity(ngrams(""), ngrams("")) == 1


def test_what_most_agree_on_comes_first():
    order, means = consensus(["悲伤", "高兴", "很高兴", "高兴"])
    assert order == [1, 3, 2, 0]
    # 高兴: itself and its twin, 2/3 with 很高兴, nothing with 悲伤
    assert means == pytest.approx([1 / 4, (1 + 1 + 2 / 3) / 4, (1 + 2 / 3 + 2 / 3) / 4, (1 + 1 + 2 / 3) / 4])


def test_one_candidate():
    assert consensus(["高兴"]) == ([0], [1.0])


TEXTS = ["悲伤", "高兴", "很高兴", "", "高高高兴", "很高兴很高兴"]
WEIGHTS = [1.0, 2.0, 3.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("of", [None, ["高兴吗", "", "没有", "很高兴"]])
def test_expected_similarity_is_the_weighted_mean_of_similarities(of):
    found = TextSet(TEXTS).expected_similarity(np.array(WEIGHTS), of)
    expected = [
        sum(w * similarity(ngrams(one), ngrams(other)) for w, other in zip(WEIGHTS, TEXTS, strict=True)) / sum(WEIGHTS)
        for one in of or TEXTS
    ]
    assert found == pytest.approx(expected, abs=1e-12)


def test_expected_similarity_by_hand_among_some():
    # 高兴 with weight 1, 很高兴 with weight 3: 高兴 has (1 * 1 + 3 * 2/3) / 4, 很高兴 (1 * 2/3 + 3 * 1) / 4
    found = TextSet(TEXTS).expected_similarity(np.array([1.0, 3.0]), among=np.array([1, 2]))
    assert found == pytest.approx([3 / 4, 11 / 12])


def test_equal_weights_are_those_of_consensus():
    assert TextSet(TEXTS).expected_similarity(np.ones(6)) == pytest.approx(consensus(TEXTS)[1])

import pytest

from espnet2_secap.inference.consensus import consensus, ngrams, similarity


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

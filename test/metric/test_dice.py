"""Similarity of captions, worked out by hand."""

import pytest

from espnet2_secap.metric.dice import ngrams, similarity


def test_similarity_by_hand():
    # 高兴 has 高 兴 高兴; 很高兴 has 很 高 兴 很高 高兴 很高兴: three of both, 2 * 3 / (3 + 6)
    assert similarity(ngrams("高兴"), ngrams("很高兴")) == pytest.approx(2 / 3)
    assert similarity(ngrams("高 兴"), ngrams("高兴")) == 1
    assert similarity(ngrams("高兴"), ngrams("悲伤")) == 0
    assert similarity(ngrams(""), ngrams("")) == 1

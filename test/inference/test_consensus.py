import numpy as np
import pytest

from espnet2_secap.inference.agreement import Agreement
from espnet2_secap.inference.consensus import TextSet, consensus, consensus_of
from espnet2_secap.metric.dice import ngrams, similarity
from espnet2_secap.metric.words import Categories


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


EMOTION = Categories({"happy": ["高兴"], "sad": ["悲伤"], "angry": ["愤怒"]})
RATE = Categories({"fast": ["快"], "slow": ["慢"]})
NAMING = ["高兴", "又高兴又悲伤", "悲伤", "快", "说得快而愤怒"]  # the fourth names no emotion, the first three no rate


def f1(a: set, b: set) -> float:
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0


def test_agreement_by_hand():
    """F1 of {happy} and {happy, sad} is 2/3; where neither names one it is 0, with itself too."""
    agreement = Agreement(0.5, (EMOTION, RATE))
    plain = TextSet(NAMING).expected_similarity(np.ones(5))
    added = TextSet(NAMING, agreement).expected_similarity(np.ones(5)) - plain
    emotion = [1 + 2 / 3, 2 / 3 + 1 + 2 / 3, 1 + 2 / 3, 0, 1]
    rate = [0, 0, 0, 2, 2]
    assert added == pytest.approx([0.5 * (e + r) / 5 for e, r in zip(emotion, rate, strict=True)])
    assert consensus(NAMING, agreement)[1] == pytest.approx((plain + added).tolist())
    # of other texts, under other weights, among some
    found = TextSet(NAMING, agreement).expected_similarity(np.array([1.0, 3.0]), ["悲伤吗", "吗"], np.array([1, 2]))
    other = TextSet(NAMING).expected_similarity(np.array([1.0, 3.0]), ["悲伤吗", "吗"], np.array([1, 2]))
    assert found - other == pytest.approx([0.5 * (1 * 2 / 3 + 3 * 1) / 4, 0])


def test_what_is_named_may_decide():
    texts = ["声音很高，语气里带着高兴", "声音很高，语气里带着悲伤", "愤怒", "愤怒而激动的语气"]
    assert consensus(texts)[0][0] == 0
    assert consensus(texts, Agreement(3.0, (EMOTION,)))[0][0] == 3  # two that share little but the emotion


def test_samples_that_repeat_themselves_agree_as_often():
    order, means = consensus(["悲伤", "高兴", "高兴"], Agreement(1.0, (EMOTION,)))
    assert order == [1, 2, 0] and means == pytest.approx([2 / 3, 4 / 3, 4 / 3])


def test_agreement_is_added_to_another_similarity():
    cosines = np.array([[1, 0.5, 0], [0.5, 1, 0.25], [0, 0.25, 1]])
    texts = ["高兴", "悲伤", "又高兴又悲伤"]
    # F1: 1 + 0 + 2/3, 0 + 1 + 2/3, 2/3 + 2/3 + 1
    expected = [(1.5 + 2 * 5 / 3) / 3, (1.75 + 2 * 5 / 3) / 3, (1.25 + 2 * 7 / 3) / 3]
    order, means = consensus_of(cosines, texts, Agreement(2.0, (EMOTION,)))
    assert order == [2, 1, 0] and means == pytest.approx(expected, rel=1e-6)
    assert consensus_of(cosines)[0] == [1, 0, 2]


def test_agreement_among_many_texts_is_the_sum_over_pairs():
    rng = np.random.default_rng(0)
    words = ["高兴", "悲伤", "愤怒", "快", "慢", "声"]
    texts = list(dict.fromkeys("".join(rng.choice(words, 3)) for _ in range(60)))
    weights = rng.random(len(texts))
    agreement = Agreement(1.5, (EMOTION, RATE))
    named = [[set(one) for one in each] for each in agreement.named(texts)]
    added = TextSet(texts, agreement).expected_similarity(weights) - TextSet(texts).expected_similarity(weights)
    expected = [
        1.5 * sum(w * f1(each[i], each[j]) for each in named for j, w in enumerate(weights)) / weights.sum()
        for i in range(len(texts))
    ]
    assert added == pytest.approx(expected, abs=1e-12)

import numpy as np
import pytest
from scipy import stats as scipy_stats

from espnet2_secap.listen.stats import alpha, compare, correlate, holm, mean_scores, t_interval, utterance_means

NAN = np.nan


def test_t_interval_by_hand():
    # mean 3, s = sqrt(2.5), t(0.975, 4) = 2.776445: 3 +- 2.776445 * 1.581139 / sqrt(5)
    assert t_interval(np.array([1.0, 2, 3, 4, 5])) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-5)
    assert t_interval(np.array([3.0])) is None


def test_mean_scores_by_hand():
    scores = np.full((2, 3, 3), NAN)  # listeners, utterances, systems
    scores[0, :, 0], scores[1, :2, 0] = [4, 5, 3], [4, 2]
    scores[:, 0, 1] = [1, 2]
    first, second, nobody = mean_scores(scores)
    assert (first.mean, first.ratings) == (pytest.approx(18 / 5), 5) and nobody is None
    assert first.shares == [0, 0.2, 0.2, 0.4, 0.2]
    assert first.over_ratings == pytest.approx(t_interval(np.array([4.0, 5, 3, 4, 2])))
    assert first.over_listeners == pytest.approx(t_interval(np.array([4.0, 3.0])))
    low, high = first.over_utterances
    assert 3 <= low < 3.6 < high <= 4  # between the utterances' means 3, 3.5 and 4
    assert second.mean == 1.5 and second.over_utterances is None and second.over_listeners is not None


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04, times 4, 3, 2, 1, never falling: 0.02, 0.03, 0.06, 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_pairs_are_tested_over_utterances():
    generator = np.random.default_rng(0)
    base = generator.integers(2, 5, size=(6, 20)).astype(float)
    scores = np.stack([base + 1, base, base + generator.integers(-1, 2, size=base.shape)], -1)
    scores[:, 19, 0] = NAN
    pairs = compare(scores)
    assert [(one.first, one.second, one.utterances) for one in pairs] == [(0, 1, 19), (0, 2, 19), (1, 2, 20)]
    one = pairs[0]
    assert one.difference == pytest.approx(1) and one.span == pytest.approx((1, 1))
    assert one.p == pytest.approx(scipy_stats.wilcoxon(np.ones(19)).pvalue) and one.p < one.p_holm < 0.001
    means = utterance_means(scores)
    difference = means[:, 1] - means[:, 2]
    assert pairs[2].difference == pytest.approx(difference.mean())
    assert pairs[2].span[0] < difference.mean() < pairs[2].span[1]
    same = compare(np.repeat(base[:, :, None], 2, axis=2))[0]
    assert (same.p, same.p_holm, same.difference) == (1, 1, 0)


def test_krippendorffs_alpha_against_published_values():
    """Krippendorff, Computing Krippendorff's alpha-reliability (2011), section C: 4 observers, 12 units."""
    data = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    scores = data.reshape(4, 4, 3)
    assert alpha(scores, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert alpha(scores, "interval") == pytest.approx(0.849, abs=5e-4)


def test_alpha_by_hand_and_where_it_is_not_defined():
    # two listeners, units (1, 1), (2, 2), (1, 2): observed 2 * 1 / 6, expected 2 * 3 * 3 / (6 * 5)
    scores = np.array([[1.0, 2, 1], [1, 2, 2]]).reshape(2, 3, 1)
    assert alpha(scores, "interval") == pytest.approx(1 - (2 / 6) / (18 / 30))
    assert alpha(np.full((2, 3, 1), 4.0), "interval") is None  # nothing varies
    alone = np.array([[1.0, NAN], [NAN, 2]]).reshape(2, 2, 1)
    assert alpha(alone, "ordinal") is None


def test_correlation_by_hand():
    metric = np.array([[1.0, 2], [3, 4], [5, NAN]])
    means = np.array([[1.0, 2], [3, 5], [4, 1]])
    found = correlate(metric, means, by_system=False)
    x, y = [1, 2, 3, 4, 5], [1, 2, 3, 5, 4]
    assert found.n == 5
    assert found.values["spearman"][0] == pytest.approx(0.9)  # 1 - 6 * 2 / (5 * 24)
    assert found.values["kendall"][0] == pytest.approx(0.8)  # 9 of 10 pairs agree, 1 does not
    assert found.values["pearson"][0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlate(metric, means, by_system=True) is None  # two systems


def test_correlation_of_systems_and_its_interval():
    generator = np.random.default_rng(1)
    quality = np.array([1.0, 2, 3, 4])
    metric = quality + generator.normal(0, 2, size=(60, 4))
    means = quality + generator.normal(0, 0.5, size=(60, 4))
    system, caption = correlate(metric, means, True), correlate(metric, means, False)
    assert (system.n, caption.n) == (4, 240)
    value, (low, high) = system.values["pearson"]
    assert value == pytest.approx(np.corrcoef(metric.mean(0), means.mean(0))[0, 1]) and 0.9 < low <= value <= high <= 1
    value, (low, high) = caption.values["pearson"]
    assert low < value < high and value < 0.8
    assert correlate(np.ones((60, 4)), means, False).values["pearson"] is None  # a constant

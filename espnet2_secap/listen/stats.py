"""Statistics of ratings (listeners, utterances, systems), NaN where a listener has not rated a caption."""

import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from espnet2_secap.errors import SecError
from espnet2_secap.report.resample import Addends, bootstrap, interval

RESAMPLES = 1000  # of correlations; Kendall's tau takes most of the time
Span = tuple[float, float]


@dataclass(frozen=True)
class Mos:
    """Mean opinion score of a system.

    Args:
        mean: over all ratings.
        ratings: number of them.
        over_ratings: 95% interval by Student's t over the ratings, as papers draw it; ratings of one listener or one
            utterance are not independent, so that it is too narrow.
        over_listeners: the same over the listeners' means: for other listeners.
        over_utterances: bootstrap over the utterances, as for all metrics here: for other utterances.
        shares: of the scores 1 to 5.
    """

    mean: float
    ratings: int
    over_ratings: Span | None
    over_listeners: Span | None
    over_utterances: Span | None
    shares: list[float]


@dataclass(frozen=True)
class Pair:
    """Two systems, compared by the mean scores of the utterances that have both.

    Args:
        first, second: numbers of the systems.
        utterances: how many have both.
        difference: of the means, first minus second.
        span: its 95% interval, by bootstrap over the utterances.
        p: of Wilcoxon's signed-rank test, two-sided; ties of an utterance are left out.
        p_holm: after Holm's correction for all pairs.
    """

    first: int
    second: int
    utterances: int
    difference: float
    span: Span | None
    p: float
    p_holm: float


def t_interval(values: np.ndarray) -> Span | None:
    """95% interval of the mean of `values` (n,) by Student's t; None with fewer than two."""
    from scipy import stats

    if len(values) < 2:
        return None
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def mean_scores(scores: np.ndarray) -> list[Mos | None]:
    """The MOS of each system, None for one that nobody has rated.

    Args:
        scores: (listeners, utterances, systems).
    """
    found = []
    for at in range(scores.shape[2]):
        own = scores[:, :, at]
        values = own[np.isfinite(own)]
        if not len(values):
            found.append(None)
            continue
        rated = own[np.isfinite(own).any(axis=1)]
        spans = bootstrap([_addends(own)])[0] if np.isfinite(own).any(axis=0).sum() > 1 else None
        found.append(
            Mos(
                float(values.mean()),
                len(values),
                t_interval(values),
                t_interval(np.nanmean(rated, axis=1)),
                interval(spans) if spans is not None else None,
                [float((values == score).mean()) for score in range(1, 6)],
            )
        )
    return found


def _addends(own: np.ndarray) -> Addends:
    """Sum and number of the ratings (listeners, utterances) of each utterance, for resampling."""
    known = np.isfinite(own)
    numbers = np.stack([np.where(known, own, 0).sum(0), known.sum(0)], -1)[None]  # (1, utterances, 2)
    return Addends(numbers.astype(float), lambda sums: sums[..., 0] / sums[..., 1])


def compare(scores: np.ndarray) -> list[Pair]:
    """Every pair of systems.

    Args:
        scores: (listeners, utterances, systems).
    """
    from scipy import stats

    means = utterance_means(scores)
    found = []
    for first, second in combinations(range(scores.shape[2]), 2):
        both = np.isfinite(means[:, [first, second]]).all(axis=1)
        difference = np.round(means[both, first] - means[both, second], 9)  # equal ones get equal ranks
        if not len(difference):
            continue
        p, span = 1.0, None
        if difference.any():
            p = float(stats.wilcoxon(difference).pvalue)
        if len(difference) > 1:
            part = Addends(
                np.stack([difference, np.ones_like(difference)], -1)[None], lambda one: one[..., 0] / one[..., 1]
            )
            span = interval(bootstrap([part])[0])
        found.append((first, second, len(difference), float(difference.mean()), span, p))
    corrected = holm([one[-1] for one in found])
    return [Pair(*one, p_holm) for one, p_holm in zip(found, corrected, strict=True)]


def utterance_means(scores: np.ndarray) -> np.ndarray:
    """(utterances, systems): means over the listeners, NaN where nobody has rated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.round(np.nanmean(scores, axis=0), 12)  # equal means are ties, whatever they were added from


def holm(values: list[float]) -> list[float]:
    """p values after Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979), in the same order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[at]))
        corrected[at] = highest
    return corrected


def alpha(scores: np.ndarray, level: str) -> float | None:
    """Krippendorff's alpha of the listeners; None where no caption has two ratings or all ratings are equal.

    Args:
        scores: (listeners, utterances, systems).
        level: ordinal or interval.
    """
    try:
        import krippendorff
    except ModuleNotFoundError:
        raise SecError("krippendorff is not installed; run pip install 'espnet2_secap[listen]'") from None

    data = scores.reshape(len(scores), -1)
    shared = data[:, np.isfinite(data).sum(0) > 1]
    if not shared.size or len(np.unique(shared[np.isfinite(shared)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=shared, level_of_measurement=level))


@dataclass(frozen=True)
class Correlation:
    """A metric's values against the scores.

    Args:
        n: points.
        values: pearson, spearman, kendall (tau-b) -> coefficient and its 95% interval, by bootstrap over utterances;
            None for one that is not defined (a constant).
    """

    n: int
    values: dict[str, tuple[float, Span | None] | None]


def correlate(metric: np.ndarray, means: np.ndarray, by_system: bool) -> Correlation | None:
    """Correlation of a metric with MOS; None with fewer than three points.

    Args:
        metric: (utterances, systems), NaN for none.
        means: (utterances, systems), of `utterance_means`.
        by_system: of the systems' means over the utterances that have both values; otherwise of all captions.
    """
    both = np.isfinite(metric) & np.isfinite(means)
    x, y = np.where(both, metric, np.nan), np.where(both, means, np.nan)
    n = int(both.any(axis=0).sum() if by_system else both.sum())
    if n < 3:
        return None
    used = np.flatnonzero(both.any(axis=1))
    drawn = np.random.default_rng(0).choice(used, size=(RESAMPLES, len(used)))
    observed = _coefficients(*_points(x[used], y[used], by_system))
    sampled = [_coefficients(*_points(x[rows], y[rows], by_system)) for rows in drawn]
    values = {}
    for name, value in observed.items():
        known = np.array([one[name] for one in sampled])
        known = known[np.isfinite(known)]
        span = interval(known) if len(known) > RESAMPLES / 2 and len(used) > 1 else None
        values[name] = (value, span) if np.isfinite(value) else None
    return Correlation(n, values)


def _points(x: np.ndarray, y: np.ndarray, by_system: bool) -> tuple[np.ndarray, np.ndarray]:
    if by_system:
        x, y = utterance_means(x), utterance_means(y)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _coefficients(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    from scipy import stats

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return dict.fromkeys(("pearson", "spearman", "kendall"), np.nan)
    ranks = stats.rankdata(x), stats.rankdata(y)
    return {
        "pearson": float(np.corrcoef(x, y)[0, 1]),
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
        "kendall": float(stats.kendalltau(x, y).statistic),
    }

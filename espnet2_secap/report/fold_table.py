"""How much the folds of a cross-validation differ: each metric on the recordings that each fold tests."""

import statistics
from collections.abc import Sequence

import numpy as np

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.report.collect import Score
from espnet2_secap.report.resample import Utterances


def fold_values(score: Score, tested: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Values of a system that was scored on all recordings, for the recordings of each fold.

    BLEU is computed anew from its n-gram counts; the others are means of the recordings' values (CIDEr with the
    document frequencies of all recordings), shifted where that only approximates the value on all (METEOR).

    Args:
        score: of the pooled captions.
        tested: ids by fold.

    Returns:
        metric -> value by fold; NaN where no recording of a fold has one. Metrics without values per recording are
        left out.

    Raises:
        SecError: the score has no values per recording, or not for all of these.
    """
    utterances = Utterances(score)
    place = {utt: at for at, utt in enumerate(utterances.ids)}
    lost = [utt for ids in tested for utt in ids if utt not in place]
    if lost:
        raise SecError(f"{score.folder / 'scores.tsv'}: {lost[0]}: is missing; run stage 8 again")
    counts = np.zeros((len(tested), len(place)))
    for row, ids in zip(counts, tested, strict=True):
        row[[place[utt] for utt in ids]] = 1
    values = {}
    for name, whole in score.metrics.items():
        if whole["mean"] is not None:
            try:
                part = utterances.addends(name)
            except MetricUnavailable:
                continue
            values[name] = (part.of(counts) + whole["mean"] - part.observed()).tolist()
    return values


def fold_table(scores: Sequence[Score], tested: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows of folds.tsv: system, metric, value on all, mean and standard deviation (n - 1) over folds, each fold."""
    rows = [["system", "metric", "pooled", "mean", "std", *(f"fold_{at}" for at in range(1, len(tested) + 1))]]
    for score in scores:
        for name, values in fold_values(score, tested).items():
            known = [value for value in values if np.isfinite(value)]
            spread = statistics.stdev(known) if len(known) > 1 else float("nan")
            mean = statistics.fmean(known) if known else float("nan")
            numbers = [score.metrics[name]["mean"], mean, spread, *values]
            rows.append([score.system, name, *("" if np.isnan(one) else f"{one:.2f}" for one in numbers)])
    return rows

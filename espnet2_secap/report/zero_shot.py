"""The table of zero-shot sets: what a model that was trained on one corpus says of the speech of others."""

from pathlib import Path

from espnet2_secap.metric.registry import HALLUCINATION, attribute_of, column_order
from espnet2_secap.report.collect import Score, is_sanity, marked
from espnet2_secap.report.resample import Resampled
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import between, label

FURTHER = ("cider", "rouge_l", *HALLUCINATION)  # columns beside those of the attributes
OWN, ALL = "(its own corpus)", "(all zero-shot sets)"


def zero_shot_table(scores: list[Score], resampled: Resampled) -> tuple[str, Table] | None:
    """Title and table; None where no set is of another corpus (sec_score --zero_shot).

    Each system has its own corpus' sets first, then the others with their data directories, then the mean over the
    latter, weighted by their numbers of utterances. Cells hold the value and its 95% interval; the sanity rows stand in
    the tables of the sets.

    Args:
        scores: of all sets, in the order of the rows.
        resampled: their values by utterance.
    """
    shown = [score for score in scores if not is_sanity(score.system)]
    others = [score for score in shown if score.meta.get("zero_shot")]
    if not others:
        return None
    systems = list(dict.fromkeys(score.system for score in others))
    shown = [score for score in shown if score.system in systems]
    columns = column_order(name for score in shown for name in score.metrics if attribute_of(name) or name in FURTHER)
    rows = []
    for system in systems:
        of_system = [score for score in shown if score.system == system]
        zero_shot = [score for score in of_system if score.meta.get("zero_shot")]
        for score in [score for score in of_system if score not in zero_shot] + zero_shot:
            spans = resampled.intervals(score)
            cells = [_cell(score.metrics.get(name, {}).get("mean"), spans.get(name)) for name in columns]
            rows.append([*_head(system, score.dset, score.meta.get("zero_shot", OWN), _size(score)), *cells])
        if len(zero_shot) > 1:
            cells = [_cell(_mean(name, zero_shot), None) for name in columns]
            rows.append([*_head(system, "mean", ALL, sum(map(_size, zero_shot))), *cells])
    trained = ", ".join(sorted({Path(score.meta.get("train_captions", "?/")).parent.name or "?" for score in others}))
    title = f"Zero-shot: trained on {trained}, tested on sets of other corpora without a step of training, per cent"
    header = ["system", "set", "data", "utterances", *map(label, columns)]
    return title, marked(Table(header, rows, set(range(3, len(header)))), scores)


def _head(system: str, dset: str, source: str, size: int) -> list[Cell]:
    return [Cell(system, code=True), Cell(dset), Cell(source, code=not source.startswith("(")), Cell(str(size or "-"))]


def _size(score: Score) -> int:
    return int(score.meta.get("utterances", 0))


def _mean(name: str, scores: list[Score]) -> float | None:
    """The mean of a metric over sets, by their utterances; None where one of them lacks it."""
    means = [score.metrics.get(name, {}).get("mean") for score in scores]
    sizes = [_size(score) for score in scores]
    if None in means or not all(sizes):
        return None
    return sum(mean * size for mean, size in zip(means, sizes, strict=True)) / sum(sizes)


def _cell(mean: float | None, span: tuple[float, float] | None) -> Cell:
    if mean is None:
        return Cell("-")
    return Cell(f"{mean:.2f}" + (f" ({between(span)})" if span else ""))

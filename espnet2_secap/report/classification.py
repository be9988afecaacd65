"""Accuracy of predicted categories as a table: UA, WA, macro F1 with intervals, and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError
from espnet2_secap.metric.classes import Confusion, confusion, macro_f1, unweighted_accuracy, weighted_accuracy
from espnet2_secap.report.resample import RESAMPLES, SEED, interval
from espnet2_secap.report.table import Cell, Table

MEASURES = {"UA": unweighted_accuracy, "WA": weighted_accuracy, "macro F1": macro_f1}
NONE = "(none)"  # column of the utterances for which no category is named


@dataclass(frozen=True)
class Classified:
    """How well categories are predicted.

    Args:
        table: true and predicted categories.
        values: measure -> value in per cent.
        intervals: measure -> its 95% interval by bootstrap over the utterances.
    """

    table: Confusion
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    def as_json(self) -> dict:
        """For a JSON file."""
        counts = [
            [self.table.counts.get((true, one), 0) for one in self.columns()] for true in self.table.true_labels()
        ]
        return {
            "utterances": sum(self.table.counts.values()),
            **{name: {"value": self.values[name], "interval": list(self.intervals[name])} for name in MEASURES},
            "confusion": {
                "true": self.table.true_labels(),
                "predicted": [NONE if one is None else one for one in self.columns()],
                "counts": counts,
            },
        }

    def columns(self) -> list[str | None]:
        """The predicted categories; None last, if some utterance has none."""
        unnamed = any(predicted is None for _, predicted in self.table.counts)
        return [*self.table.labels, *([None] if unnamed else [])]


def classified(true: Sequence[str], predicted: Sequence[str | None]) -> Classified:
    """Compare the categories of N utterances, N above 0; see `Classified`."""
    table = confusion(true, predicted)
    pairs = sorted(table.counts, key=str)
    shares = np.array([table.counts[pair] for pair in pairs]) / len(true)
    drawn = np.random.default_rng(SEED).multinomial(len(true), shares, size=RESAMPLES)  # (resamples, pairs)
    sampled = _measured(pairs, drawn)
    values = {name: 100 * measure(table) for name, measure in MEASURES.items()}
    return Classified(table, values, {name: interval(100 * sampled[name]) for name in MEASURES})


def read_classes_json(path: str | Path) -> tuple[str, Classified]:
    """A system and its categories of a classes.json, which `Classified.as_json` made.

    Raises:
        SecError: no such file, or another one.
    """
    content = read_json(path, "run sec_classify again")
    try:
        system, table = content["system"], content["confusion"]
        predicted = [None if name == NONE else name for name in table["predicted"]]
        pairs = [
            (true, one, count)
            for true, row in zip(table["true"], table["counts"], strict=True)
            for one, count in zip(predicted, row, strict=True)
        ]
        good = all(isinstance(true, str) and isinstance(one, str | None) for true, one, _ in pairs)
        if not good or not isinstance(system, str) or not any(count > 0 for *_, count in pairs):
            raise ValueError
        true, said = zip(*((true, one) for true, one, count in pairs for _ in range(count)), strict=True)
    except (KeyError, TypeError, ValueError):
        raise SecError(f"{path}: is no classes.json of sec_classify; give the one of its --output") from None
    return system, classified(true, said)


def _measured(pairs: Sequence[tuple[str, str | None]], counts: np.ndarray) -> dict[str, np.ndarray]:
    """The measures, 0 to 1, of counts (resamples, pairs)."""
    labels = sorted({true for true, _ in pairs})
    of = np.stack([counts[:, [one == label for one, _ in pairs]].sum(1) for label in labels], axis=1)
    said = np.stack([counts[:, [one == label for _, one in pairs]].sum(1) for label in labels], axis=1)
    right = np.stack([counts[:, [pair == (label, label) for pair in pairs]].sum(1) for label in labels], axis=1)
    there = of > 0  # a resample may lack a category
    number = there.sum(1)
    return {
        "UA": (right / np.where(there, of, 1)).sum(1) / number,
        "WA": right.sum(1) / of.sum(1),
        "macro F1": (np.where(there, 2 * right, 0) / np.maximum(of + said, 1)).sum(1) / number,
    }


def markdown(systems: Sequence[tuple[str, Classified]]) -> str:
    """A table of all systems, and the confusion matrix of each."""
    header = ["system", "utterances", *(title for name in MEASURES for title in (name, "95%"))]
    rows = []
    for system, found in systems:
        numbers = [str(sum(found.table.counts.values()))]
        for name in MEASURES:
            numbers += [f"{found.values[name]:.2f}", "{:.2f} to {:.2f}".format(*found.intervals[name])]
        rows.append([Cell(system, code=True), *map(Cell, numbers)])
    parts = [Table(header, rows, set(range(1, len(header)))).markdown()]
    for system, found in systems:
        names = [NONE if one is None else one for one in found.columns()]
        rows = [
            [Cell(true), *(Cell(str(found.table.counts.get((true, one), 0))) for one in found.columns())]
            for true in found.table.true_labels()
        ]
        parts.append(f"{Cell(system, code=True).markdown()}: true categories in rows, predicted ones in columns\n")
        parts.append(Table(["", *names], rows, set(range(1, len(names) + 1))).markdown())
    return "\n".join(parts)

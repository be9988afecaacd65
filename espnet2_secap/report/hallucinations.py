"""Hallucinations in the report: a table of each set beside the coverage, and what is wrong with each caption."""

import json
from collections import Counter

from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import ATTRIBUTES
from espnet2_secap.metric.faithfulness import KINDS
from espnet2_secap.metric.registry import HALLUCINATION
from espnet2_secap.metric.score import HALLUCINATIONS
from espnet2_secap.report.collect import Score, marked
from espnet2_secap.report.resample import Resampled
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import between, label

FIRST = "hallucination_factuality"  # the systems that have it and the coverage are in the table


def read_hallucinations(score: Score) -> dict[str, list[dict]] | None:
    """Id -> the faults of its captions, as sec_score wrote them; None if none were asked for.

    Raises:
        SecError: a line that sec_score did not write.
    """
    path = score.folder / HALLUCINATIONS
    if not path.is_file():
        return None
    found: dict[str, list[dict]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            one = json.loads(line)
            utt, at, *texts = (one[name] for name in ("id", "candidate", "kind", "what", "word"))
            against = one.get("against", [])
            if type(at) is not int or not all(isinstance(text, str) for text in [utt, *texts, *against]):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise SecError(f"{path}: line {number} was not written by sec_score; score {score.system} again") from None
        found.setdefault(utt, []).append(one)
    return found


def hallucination_table(scores: list[Score], resampled: Resampled) -> Table | None:
    """Systems by coverage, the highest first, with their rates of hallucination; None if no system has both.

    The columns at the end are the shares of captions with a fault of this attribute or kind.
    """
    shown = [score for score in scores if all(_mean(score, name) is not None for name in (FIRST, "coverage"))]
    if not shown:
        return None
    shown.sort(key=lambda score: -_mean(score, "coverage"))
    names = ["coverage", *(name for name in HALLUCINATION if name != "coverage")]
    names = [name for name in names if any(_mean(score, name) is not None for score in shown)]
    faults = {score.system: _shares(score) for score in shown}
    kinds = sorted({fault for shares in faults.values() for fault in shares}, key=_place)
    rows = []
    for score in shown:
        spans = resampled.intervals(score)
        cells = []
        for name in names:
            mean = _mean(score, name)
            cells.append(Cell("-" if mean is None else f"{mean:.2f}"))
            cells.append(Cell(between(spans[name]) if name in spans else "-"))
        cells += [Cell(f"{faults[score.system].get(kind, 0):.1f}") for kind in kinds]
        rows.append([Cell(score.system, code=True), *cells])
    header = ["system", *(part for name in names for part in (label(name), "95%")), *(what for _, what in kinds)]
    return marked(Table(header, rows, set(range(1, len(header)))), scores)


def _mean(score: Score, name: str) -> float | None:
    return score.metrics.get(name, {}).get("mean")


def _shares(score: Score) -> dict[tuple[str, str], float]:
    """(kind, what) -> per cent of all captions with such a fault."""
    size = score.meta.get("utterances", 0) * score.meta.get("candidates", 1)
    counts: Counter[tuple[str, str]] = Counter()
    for own in (read_hallucinations(score) or {}).values():
        for _, kind, what in {(one["candidate"], one["kind"], one["what"]) for one in own}:
            counts[kind, what] += 1
    return {fault: 100 * n / size for fault, n in counts.items()} if size else {}


def _place(fault: tuple[str, str]) -> tuple[int, str]:
    """Sorts attributes and then kinds in their own orders, and others behind."""
    places = [*ATTRIBUTES, *KINDS]
    return (places.index(fault[1]) if fault[1] in places else len(places)), fault[1]

"""Tables laid out as a paper's, over several seeds, with its values in brackets and its claims put to the test."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.report.collect import ORACLE_MARK, Score
from espnet2_secap.report.compare import check_comparable
from espnet2_secap.report.resample import RESAMPLES, Addends, Resampled, bootstrap, interval, over_seeds
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import between, label, spread

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
HOW = (
    "Mean and, over several seeds, standard deviation; in brackets the paper's value, on its own test set and by"
    f" its own models: a trend to compare, not a number. Differences: paired bootstrap over the utterances ({RESAMPLES}"
    " resamples); of several seeds each resample also draws seeds, the same for both systems. A claim holds where the"
    " 95% interval of the difference is above zero, does not hold where it is below, and is undecided otherwise."
)
By = Mapping[str, Mapping[int, Score]]  # system -> seed -> its score


@dataclass(frozen=True)
class Row:
    """A row of a paper's table.

    Args:
        system: name of the system, as in the scores.
        cells: its first cells, as the paper has them.
        quoted: metric -> the paper's value.
        missing: why it has no scores, where it is known.
    """

    system: str
    cells: Sequence[str]
    quoted: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Claim:
    """What a paper says of two systems: `better` has the higher value."""

    text: str
    better: str
    worse: str


@dataclass(frozen=True)
class Verdict:
    """A difference `better - worse` in per cent with its 95% interval, of `seeds` seeds; or why there is none."""

    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    seeds: int = 0
    reason: str = ""

    def word(self) -> str:
        """Whether a claim of a positive difference holds."""
        if self.reason:
            return UNDECIDED
        return HOLDS if self.low > 0 else FAILS if self.high < 0 else UNDECIDED

    def shown(self) -> str:
        """The difference and its interval, or why there is none."""
        return self.reason or f"{self.difference:+.2f} ({between((self.low, self.high), '+')})"


class Seeds:
    """The scores of systems, each trained with some seeds.

    Args:
        scores: system -> seed -> score, all on one set.
        ids: the utterances that count; None: all.
    """

    def __init__(self, scores: By, ids: Collection[str] | None = None, resampled: Resampled | None = None):
        self.scores, self.ids = scores, None if ids is None else frozenset(ids)
        self._resampled = resampled or Resampled()
        self._drawn: dict[tuple[str, int, str], tuple[float, np.ndarray]] = {}

    def subset(self, ids: Collection[str]) -> "Seeds":
        """The same scores on some of the utterances."""
        return Seeds(self.scores, ids, self._resampled)

    def values(self, system: str, metric: str) -> list[float]:
        """The system's values, one per seed that has one."""
        found = []
        for _, score in sorted(self.scores.get(system, {}).items()):
            value = score.metrics.get(metric, {}).get("mean")
            if value is not None and self.ids is not None:
                try:
                    value = self._addends(score, metric).observed()
                except (MetricUnavailable, SecError):
                    value = None
            if value is not None and np.isfinite(value):
                found.append(float(value))
        return found

    def difference(self, better: str, worse: str, metric: str) -> Verdict:
        """better - worse over the seeds that both have; see HOW."""
        pair = [self.scores.get(system, {}) for system in (better, worse)]
        common = sorted(pair[0].keys() & pair[1].keys())
        if not common:
            lacking = [system for system, found in zip((better, worse), pair, strict=True) if not found]
            return Verdict(reason=f"no scores of {' and '.join(lacking)}" if lacking else "no seed in common")
        observed, drawn = [], []
        try:
            for seed in common:
                check_comparable(pair[0][seed], pair[1][seed], self._resampled)
                (a, first), (b, second) = (self._sampled(system, seed, metric) for system in (better, worse))
                observed.append(a - b)
                drawn.append(first - second)
        except (MetricUnavailable, SecError) as err:
            return Verdict(reason=f"{label(metric)}: {err}")
        low, high = interval(over_seeds(drawn))
        return Verdict(round(float(np.mean(observed)), 9), low, high, len(common))

    def _addends(self, score: Score, metric: str) -> Addends:
        utterances = self._resampled.of(score)
        whole = utterances.addends(metric)
        if self.ids is None:
            return whole
        kept = [at for at, utt in enumerate(utterances.ids) if utt in self.ids]
        if not kept:
            raise MetricUnavailable("none of these utterances was scored")
        return Addends(whole.numbers[:, kept], whole.value, whole.mean)

    def _sampled(self, system: str, seed: int, metric: str) -> tuple[float, np.ndarray]:
        key = (system, seed, metric)
        if key not in self._drawn:
            addends = self._addends(self.scores[system][seed], metric)
            self._drawn[key] = addends.observed(), bootstrap([addends])[0]
        return self._drawn[key]


def paper_table(
    columns: Sequence[str], metrics: Sequence[str], rows: Sequence[Row], seeds: Seeds, reference: str, metric: str
) -> tuple[Table, list[str]]:
    """The rows with our values, the paper's in brackets, and the difference to a reference system.

    Args:
        columns: heads of the rows' first cells.
        metrics: of the columns that follow.
        rows: in the paper's order.
        reference: system that every row is compared with, by `metric`.

    Returns:
        the table, and notes on rows without scores.
    """
    notes, lines = [], []
    for row in rows:
        found = {name: seeds.values(row.system, name) for name in metrics}
        count = len(seeds.scores.get(row.system, {}))
        line = [Cell(text) for text in row.cells] + [Cell(str(count))]
        if any(score.oracle for score in seeds.scores.get(row.system, {}).values()):
            line[0] = Cell(row.cells[0], note=ORACLE_MARK)
        for name in metrics:
            quoted = f"[{row.quoted[name]}]" if name in row.quoted and seeds.ids is None else ""
            line.append(Cell(spread(found[name]), note=quoted))
        if row.system == reference:
            line.append(Cell("reference"))
        else:
            verdict = seeds.difference(row.system, reference, metric)
            decided = not verdict.reason and verdict.word() != UNDECIDED
            line.append(Cell("-" if verdict.reason else verdict.shown(), bold=decided))
        if not count:
            notes.append(f"{' '.join(row.cells)} ({row.system}): {row.missing or 'has not been run'}")
        lines.append(line)
    header = [*columns, "seeds", *map(label, metrics), f"{label(metric)}: difference to {reference} (95%)"]
    numeric = set(range(len(columns), len(header)))
    return Table(header, lines, numeric), notes


def claim_table(claims: Sequence[Claim], seeds: Seeds, metric: str) -> Table:
    """One line per claim: holds, does not hold or undecided, with the difference and its interval."""
    rows = []
    for claim in claims:
        verdict = seeds.difference(claim.better, claim.worse, metric)
        word = verdict.word()
        tone = {HOLDS: "good", FAILS: "bad"}.get(word, "")
        cells = [Cell(claim.text), Cell(f"{claim.better} > {claim.worse}", code=True), Cell(word, bold=True, tone=tone)]
        rows.append([*cells, Cell(verdict.shown()), Cell(str(verdict.seeds))])
    head = ["the paper's claim", "compared", "here", f"{label(metric)}: difference (95%)", "seeds"]
    return Table(head, rows, {3, 4})

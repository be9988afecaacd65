"""The results of a listening test as Markdown, LaTeX, JSON, a table of ratings and a plot."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from espnet2_secap.data.io import atomic_write
from espnet2_secap.listen.design import Design
from espnet2_secap.listen.stats import Correlation, Mos, Pair, Span
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import label

HOW = (
    "95% intervals: t over all ratings, as papers draw them (too narrow, since ratings of one listener or one "
    "utterance depend on each other); t over the listeners' means; bootstrap over the utterances (10,000 resamples). "
    "Scores: 1 no emotion described, 2 another emotion, 3 to 5 by intensity."
)
TESTED = (
    "Difference of the means of utterances that have ratings of both systems; interval by bootstrap over the "
    "utterances; p of Wilcoxon's signed-rank test, two-sided, and after Holm's correction for all pairs."
)
CORRELATED = (
    "Values of the first candidate against mean scores; 95% intervals by bootstrap over the utterances (1,000 "
    "resamples). By system: means over the rated utterances."
)


@dataclass(frozen=True)
class Listener:
    """A listener's answers in short; `flags` say why they are doubtful."""

    name: str
    group: int
    answers: int
    asked: int
    mean: float | None
    correlation: float | None
    seconds: float
    caught: int
    catches: int
    flags: list[str]


@dataclass(frozen=True)
class Analysis:
    """What the ratings of some listeners say: MOS of each system, pairs of systems, agreement, metrics."""

    listeners: int
    mos: list[Mos | None]
    pairs: list[Pair]
    alpha: dict[str, float | None]
    correlations: Mapping[str, Mapping[str, Correlation | None]]


@dataclass(frozen=True)
class Results:
    """All results.

    Args:
        design: of the test.
        listeners: in the order of `scores`.
        scores: (listeners, utterances, systems), NaN where a listener has not rated a caption.
        parts: the analysis of all listeners, and of those without flags.
    """

    design: Design
    listeners: list[Listener]
    scores: np.ndarray
    parts: dict[str, Analysis]

    def tables(self) -> list[tuple[str, Table, str]]:
        """Title, table and note of each."""
        found = []
        for name, part in self.parts.items():
            agreement = ", ".join(f"{level} {_number(value)}" for level, value in part.alpha.items())
            told = f"{part.listeners} listeners; Krippendorff's alpha: {agreement}. {HOW}"
            found.append((f"Mean opinion scores, {name}", self._mos(part), told))
            if part.pairs:
                found.append((f"Pairs of systems, {name}", self._pairs(part), TESTED))
            if part.correlations:
                found.append((f"Metrics and scores, {name}", self._correlations(part), CORRELATED))
        flagged = sum(bool(one.flags) for one in self.listeners)
        found.append(("Listeners", self._listeners(), f"{flagged} of {len(self.listeners)} listeners are flagged."))
        return found

    def markdown(self, command: str, picture: str) -> str:
        """LISTENING.md."""
        size = f"{len(self.design.utterances)} utterances, {len(self.design.systems)} systems, design {self.design.id}"
        lines = [f"# Listening test\n\n{size}. Written by `{command.replace('`', '')}`.\n"]
        lines.append(f"![Mean opinion scores with 95% intervals (t over all ratings)]({picture})\n")
        lines += [f"## {title}\n\n{table.markdown()}\n{note}\n" for title, table, note in self.tables()]
        return "\n".join(lines)

    def latex(self) -> str:
        """The tables for a paper."""
        return "\n".join(f"% {title}\n{table.latex()}" for title, table, _ in self.tables())

    def text(self) -> str:
        """The tables for a terminal."""
        return "\n".join(f"{title}\n{table.text()}" for title, table, _ in self.tables())

    def numbers(self) -> dict:
        """The content of the JSON file."""
        systems = self.design.systems
        parts = {}
        for name, part in self.parts.items():
            pairs = [asdict(one) | {"first": systems[one.first], "second": systems[one.second]} for one in part.pairs]
            mos = {system: one and asdict(one) for system, one in zip(systems, part.mos, strict=True)}
            found = {
                metric: {kind: one and asdict(one) for kind, one in kinds.items()}
                for metric, kinds in part.correlations.items()
            }
            parts[name.replace(" ", "_")] = {
                "listeners": part.listeners, "mos": mos, "alpha": part.alpha, "pairs": pairs, "correlations": found,
            }  # fmt: skip
        listeners = [asdict(one) for one in self.listeners]
        return {"design": self.design.id, "systems": systems, "listeners": listeners} | parts

    def _mos(self, part: Analysis) -> Table:
        header = ["system", "MOS", "95% ratings", "95% listeners", "95% utterances", "ratings", *"12345"]
        best = max((one.mean for one in part.mos if one), default=None)
        rows = []
        for system, one in zip(self.design.systems, part.mos, strict=True):
            if one is None:
                rows.append([Cell(system, code=True), *[Cell("-")] * (len(header) - 1)])
                continue
            spans = [_span(span) for span in (one.over_ratings, one.over_listeners, one.over_utterances)]
            cells = [*spans, str(one.ratings), *(f"{100 * share:.0f}%" for share in one.shares)]
            rows.append([Cell(system, code=True), Cell(f"{one.mean:.2f}", bold=one.mean == best), *map(Cell, cells)])
        return Table(header, rows, set(range(1, len(header))))

    def _pairs(self, part: Analysis) -> Table:
        header = ["A", "B", "A - B", "95%", "p", "p (Holm)", "utterances"]
        rows = [
            [
                *(Cell(self.design.systems[at], code=True) for at in (one.first, one.second)),
                *map(Cell, (f"{one.difference:+.2f}", _span(one.span), f"{one.p:.2g}")),
                Cell(f"{one.p_holm:.2g}", bold=one.p_holm < 0.05),
                Cell(str(one.utterances)),
            ]
            for one in part.pairs
        ]
        return Table(header, rows, set(range(2, len(header))))

    def _correlations(self, part: Analysis) -> Table:
        header, rows = ["metric", "by", "points", "Pearson", "Spearman", "Kendall"], []
        for name, kinds in part.correlations.items():
            for kind, one in kinds.items():
                if one:
                    cells = [f"{v[0]:.2f} ({_span(v[1])})" if v else "-" for v in one.values.values()]
                    rows.append([Cell(label(name)), Cell(kind), Cell(str(one.n)), *map(Cell, cells)])
        return Table(header, rows, set(range(2, len(header))))

    def _listeners(self) -> Table:
        header = ["listener", "group", "answers", "mean", "r with others", "s per item", "catch failed", "flags"]
        rows = [
            [
                Cell(one.name, code=True),
                *map(
                    Cell,
                    (
                        str(one.group), f"{one.answers}/{one.asked}", _number(one.mean), _number(one.correlation),
                        f"{one.seconds:.1f}", f"{one.caught}/{one.catches}" if one.catches else "-",
                    ),
                ),
                Cell("; ".join(one.flags), tone="bad" if one.flags else ""),
            ]
            for one in self.listeners
        ]  # fmt: skip
        return Table(header, rows, set(range(1, len(header) - 1)))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _span(span: Span | None) -> str:
    return "-" if span is None else f"{span[0]:.2f} to {span[1]:.2f}"


def write_ratings(results: Results, path: str | Path) -> None:
    """A line for each rating that counts, for statistics of your own: listener, group, utterance, system, score."""
    with atomic_write(path) as stream:
        stream.write("listener\tgroup\tutterance\tsystem\tscore\n")
        for at, utt, system in zip(*np.nonzero(np.isfinite(results.scores)), strict=True):
            one, name = results.listeners[at], results.design.systems[system]
            score = int(results.scores[at, utt, system])
            stream.write(f"{one.name}\t{one.group}\t{results.design.utterances[utt]}\t{name}\t{score}\n")


def plot(results: Results, path: str | Path) -> None:
    """MOS of each system with its 95% interval (t over all ratings), as SECap's Figure 4 shows them; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    part = next(iter(results.parts.values()))
    shown = [(system, one) for system, one in zip(results.design.systems, part.mos, strict=True) if one]
    figure = Figure(figsize=(max(3.5, 0.9 * len(shown) + 1.5), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    means = np.array([one.mean for _, one in shown])
    ends = np.array([one.over_ratings or (one.mean, one.mean) for _, one in shown])
    axes.bar(range(len(shown)), means - 1, bottom=1, width=0.6, color="#6ea2f7")
    axes.errorbar(range(len(shown)), means, np.abs(ends.T - means), fmt="none", ecolor="#1c2024", capsize=4)
    for at, mean in enumerate(means):
        axes.annotate(f"{mean:.2f}", (at, ends[at, 1]), ha="center", va="bottom", fontsize=8, xytext=(0, 2),
                      textcoords="offset points")  # fmt: skip
    axes.set_xticks(range(len(shown)), [system for system, _ in shown], rotation=25, ha="right", fontsize=8)
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    axes.set_ylim(1, 5.2)
    axes.set_ylabel("MOS, 95% interval over ratings", fontsize=8)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)

"""Paired bootstrap between two systems: difference, 95% interval, p."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from espnet2_secap.errors import SecError, few, listed
from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.judge import Judge
from espnet2_secap.metric.registry import HALLUCINATION, column_order, find_metric
from espnet2_secap.report.collect import Score, differing_references
from espnet2_secap.report.resample import RESAMPLES, SEED, Addends, Resampled, Utterances, interval, p_value
from espnet2_secap.report.table import Cell, Table, one_line
from espnet2_secap.report.tables import between, label, p_cell
from espnet2_secap.report.wins import Wins, wins_by_judge, wins_by_truth, wins_table

SAME_SETTINGS = ("segment", "normalize", "words", "truth")  # settings of sec_score that must be equal for both systems
EARLIER = {"normalize": "nfc"}  # what scores of earlier versions, which do not say it, are compared as
HOW = (
    f"Paired bootstrap over the utterances (Koehn, EMNLP 2004), {RESAMPLES} resamples, seed {SEED}; an utterance's "
    "candidates are resampled together, and values are means over the candidates. BLEU and unweighted accuracy are "
    "recomputed on each resample from their counts; the other metrics are means of the utterances' values (CIDEr with "
    "the document frequencies of the whole set). 95%: percentile interval of the difference. p: two-sided, twice the "
    "share of resamples in which the difference is zero or changes sign."
)


@dataclass(frozen=True)
class Difference:
    """One metric of two systems on one set, in per cent: values `a` and `b`, and the 95% interval `low` to `high` of
    their difference."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on one set.

    Args:
        systems: names of A and B.
        dset: the set.
        segment: the segmentation for the n-gram metrics.
        utterances: number of resampled utterances.
        differences: A - B, one per metric.
        notes: missing metrics, and what the values mean.
        wins: how often A is better than B, by truth and by judge, where this was asked for.
    """

    systems: tuple[str, str]
    dset: str
    segment: str
    utterances: int
    differences: list[Difference]
    notes: list[str]
    wins: list[Wins] = field(default_factory=list)

    def table(self) -> Table:
        """One row per metric: values, difference, interval and p."""
        return difference_table(self.differences, "{:.2f}".format)

    def title(self) -> str:
        """The heading of the comparison."""
        what = f"{self.dset}, {self.utterances} utterances, per cent, segmentation {self.segment}"
        return f"{what}: A = {self.systems[0]}, B = {self.systems[1]}"

    def text(self) -> str:
        """Plain text for the terminal."""
        wins = wins_table(self.wins).text() if self.wins else ""
        notes = "".join(f"{one_line(note)}\n" for note in self.notes)
        return f"{one_line(self.title())}\n{self.table().text()}{wins}{notes}"

    def markdown(self) -> str:
        """A section of the Markdown file."""
        notes = "".join(f"{Cell(note).markdown()}  \n" for note in self.notes)
        wins = f"\n{wins_table(self.wins).markdown()}" if self.wins else ""
        notes = f"\n{notes}" if notes else ""
        return f"## {Cell(self.title()).markdown()}\n\n{self.table().markdown()}{wins}{notes}"

    def numbers(self) -> dict:
        """The content for JSON."""
        return {"set": self.dset, "a": self.systems[0], "b": self.systems[1], "utterances": self.utterances} | {
            "segment": self.segment,
            "resamples": RESAMPLES,
            "seed": SEED,
            "metrics": {
                one.metric: {k: v for k, v in asdict(one).items() if k != "metric"} for one in self.differences
            },
            "wins": {one.by: one.numbers() for one in self.wins},
            "notes": self.notes,
        }


def compare(
    scores: list[Score],
    systems: tuple[str, str],
    dsets: list[str] | None = None,
    metrics: list[str] | None = None,
    resampled: Resampled | None = None,
    wins: bool = False,
    judge: Judge | None = None,
) -> list[Comparison]:
    """Compare two systems on sets (all that both have) by metrics (all that both have).

    Args:
        wins: whether to count how often one system's caption is better by what is true; with `judge` also by this one.

    Raises:
        SecError: unknown system, set or metric; the systems differ in utterances or settings; a requested metric
            cannot be resampled.
    """
    found, chosen = choose_sets(scores, systems, dsets)
    first, second = (found[system] for system in systems)
    for name in metrics or []:
        find_metric(name)
    known = resampled or Resampled()
    compared = [_compare(first[dset], second[dset], metrics, known) for dset in chosen]
    return [_with_wins(one, first[one.dset], second[one.dset], known, judge) for one in compared] if wins else compared


def difference_table(differences: Sequence, shown: Callable) -> Table:
    """One row per metric: values of A and B as `shown` writes them, difference, interval and p."""
    rows = []
    for one in differences:
        numbers = [shown(one.a), shown(one.b), f"{one.difference:+.2f}", between((one.low, one.high), "+")]
        rows.append([Cell(label(one.metric)), *map(Cell, numbers), p_cell(one.p)])
    return Table(["metric", "A", "B", "A - B", "95%", "p"], rows, set(range(1, 6)))


def by_metric(
    of: Callable[[str], Any], asked: Sequence[str] | None, shared: Collection[str], systems: Sequence[str], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Metric -> what `of` gives, of those that are asked for, or else of all that are shared; and notes on those that
    are left out, since they cannot be resampled.

    Raises:
        SecError: one that is asked for cannot; or none is left.
    """
    found, notes = {}, []
    for name in column_order(asked or shared):
        try:
            found[name] = of(name)
        except MetricUnavailable as err:
            if asked:
                raise SecError(f"--metrics {name}: cannot be compared on {where}: it {err}") from None
            notes.append(f"{label(name)} is omitted: it {err}")
    if not found:
        raise SecError(f"--compare: {' and '.join(systems)} have no metric in common on {where} to compare")
    return found, notes


def choose_sets(
    scores: Sequence[Score], systems: Sequence[str], dsets: Sequence[str] | None = None
) -> tuple[dict[str, dict[str, Score]], list[str]]:
    """System -> set -> score, and the sets that all systems have, or those of them that are named.

    Raises:
        SecError: unknown system or set.
    """
    known = list(dict.fromkeys(score.system for score in scores))
    for system in systems:
        if system not in known:
            raise SecError(f"--compare: system {system!r} has no scores; choose from: {', '.join(known)}")
    found = {name: {score.dset: score for score in scores if score.system == name} for name in systems}
    common = [dset for dset in found[systems[0]] if all(dset in own for own in found.values())]
    which, named = "both" if len(systems) == 2 else "all", listed(systems, between=" and ")
    for dset in dsets or []:
        if dset not in common:
            shown = ", ".join(common) or "none"
            raise SecError(f"--set {dset}: not scored for {which} {named}; choose from: {shown}")
    if not common:
        raise SecError(f"--compare: {named} have no set in common; decode and score {which} on the same set")
    return found, list(dsets or common)


def check_comparable(first: Score, second: Score, resampled: Resampled) -> tuple[Utterances, Utterances]:
    """The utterances of two systems on one set.

    Raises:
        SecError: they differ in settings, utterances or references.
    """
    names = (first.system, second.system)
    for key in SAME_SETTINGS:
        own = [score.meta.get(key, EARLIER.get(key)) for score in (first, second)]
        if own[0] != own[1]:
            raise SecError(
                f"--compare: on {first.dset} {' and '.join(names)} were scored with different {key} "
                f"({own[0]}, {own[1]}); score both with the same options of sec_score"
            )
    pair = resampled.of(first), resampled.of(second)
    if pair[0].ids != pair[1].ids:
        other = sorted(set(pair[0].ids) ^ set(pair[1].ids))
        shown = few(other)
        raise SecError(
            f"--compare: {' and '.join(names)} have different utterances of {first.dset}: {len(other)} are in only "
            f"one of them ({shown}); score both on the same utterances"
        )
    if differing_references([first, second]):
        raise SecError(
            f"--compare: on {first.dset} {' and '.join(names)} were scored against different references"
            f" ({first.meta['ref']}, {second.meta['ref']}): their ids are equal, their utterances are not; compare"
            " systems of one set"
        )
    return pair


def _compare(first: Score, second: Score, metrics: list[str] | None, resampled: Resampled) -> Comparison:
    names = (first.shown, second.shown)
    pair = check_comparable(first, second, resampled)
    shared = first.metrics.keys() & second.metrics.keys()
    parts, notes = by_metric(lambda name: parts_of(pair, name), metrics, shared, names, first.dset)
    differences = []
    for name, both in parts.items():
        # rounding errors, which depend on the order of summation, are not a difference
        a, b = (part.observed() for part in both)
        drawn = np.round(pair[0].sampled[name] - pair[1].sampled[name], 9)
        differences.append(Difference(name, a, b, round(a - b, 9), *interval(drawn), p_value(drawn)))
        notes += _about_mean(name, (a, b), (first, second), both)
    return Comparison(names, first.dset, first.meta.get("segment", "not known"), len(pair[0].ids), differences, notes)


def _with_wins(one: Comparison, first: Score, second: Score, resampled: Resampled, judge: Judge | None) -> Comparison:
    a, b = resampled.of(first), resampled.of(second)
    ways = {"truth": lambda: wins_by_truth(a, b)}
    if judge:
        ways["judge"] = lambda: wins_by_judge(first, second, a.ids, judge)
    wins, notes = [], []
    for name, way in ways.items():
        try:
            found, note = way()
            wins.append(found)
            notes.append(note)
        except MetricUnavailable as err:
            notes.append(f"win rate by {name} is omitted: it {err}")
    return replace(one, wins=wins, notes=[*one.notes, *filter(None, notes)])


def parts_of(pair: tuple[Utterances, Utterances], name: str) -> tuple[Addends, Addends]:
    """One metric of two systems on one set, to be resampled.

    Raises:
        MetricUnavailable: they were scored by other models or about other attributes, or see `Utterances.addends`.
    """
    models = [each.score.meta.get("models", {}).get(name) for each in pair]
    if models[0] != models[1]:
        raise MetricUnavailable(f"was computed by different models ({models[0]}, {models[1]})")
    about = [each.score.meta.get("hallucination_attributes") for each in pair]
    if about[0] != about[1] and (name in HALLUCINATION or name.startswith("hallucination")):
        raise MetricUnavailable(f"is about different attributes ({about[0]}, {about[1]})")
    return pair[0].addends(name), pair[1].addends(name)


def _about_mean(name: str, means: tuple[float, float], scores: tuple[Score, Score], parts) -> list[str]:
    """A note if the mean over the utterances differs from the value in the result table."""
    corpus = [score.metrics[name]["mean"] for score in scores]
    if all(abs(mean - value) < 0.01 for mean, value in zip(means, corpus, strict=True)):
        return []
    if not parts[0].mean:
        shown = f"{corpus[0]:.2f}, {corpus[1]:.2f}"
        return [f"{label(name)}: the captions give other values than score.json ({shown}); score them again"]
    return [
        f"{label(name)}: the mean over the utterances is compared; the corpus values of the result table "
        f"({corpus[0]:.2f}, {corpus[1]:.2f}) are computed differently"
    ]

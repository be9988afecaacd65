"""Two systems over several seeds of training, and over several sets together: difference, 95% interval, p."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.report.collect import Score
from espnet2_secap.report.compare import by_metric, check_comparable, choose_sets, difference_table, parts_of
from espnet2_secap.report.resample import (
    RESAMPLES,
    SEED,
    Addends,
    Resampled,
    bootstrap,
    interval,
    over_seeds,
    p_value,
)
from espnet2_secap.report.table import Cell, Table, one_line
from espnet2_secap.report.tables import spread

SLOT = "{seed}"
HOW = (
    "Mean over the seeds ± standard deviation. Differences: paired bootstrap over the utterances"
    f" ({RESAMPLES} resamples, seed {SEED}), in which each resample also draws seeds, the same for both systems. Sets"
    " together are one set of all their utterances (CIDEr with the document frequencies of each set)."
)


def together(parts: Sequence[Addends]) -> Addends:
    """One metric of one system on several sets, as if they were one.

    Raises:
        MetricUnavailable: the system wrote more captions of an utterance in one set than in another.
    """
    if len({part.numbers.shape[0] for part in parts}) > 1:
        raise MetricUnavailable("has another number of candidates in each set")
    return Addends(np.concatenate([part.numbers for part in parts], 1), parts[0].value, parts[0].mean)


@dataclass(frozen=True)
class SeedDifference:
    """One metric of two systems: `a` and `b` of each seed, and `low` to `high` of the mean difference, in per cent."""

    metric: str
    a: list[float]
    b: list[float]
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SeedComparison:
    """Two systems on sets that count as one.

    Args:
        systems: names of A and B, with {seed} where the seed stands.
        dsets: the sets.
        seeds: of training; none: one experiment each.
        utterances: of all sets.
        differences: A - B, one per metric.
        notes: metrics that are left out.
    """

    systems: tuple[str, str]
    dsets: Sequence[str]
    seeds: Sequence[int]
    utterances: int
    differences: Sequence[SeedDifference]
    notes: Sequence[str]

    def title(self) -> str:
        """The heading."""
        seeds = f", seeds {' '.join(map(str, self.seeds))}" if self.seeds else ""
        what = f"{', '.join(self.dsets)}, {self.utterances} utterances, per cent{seeds}"
        return f"{what}: A = {self.systems[0]}, B = {self.systems[1]}"

    def table(self) -> Table:
        """One row per metric."""
        return difference_table(self.differences, spread)

    def text(self) -> str:
        """Plain text for the terminal."""
        return f"{one_line(self.title())}\n{self.table().text()}" + "".join(f"{one_line(one)}\n" for one in self.notes)

    def markdown(self) -> str:
        """A section of the Markdown file."""
        notes = "".join(f"{Cell(one).markdown()}  \n" for one in self.notes)
        return f"## {Cell(self.title()).markdown()}\n\n{self.table().markdown()}" + (f"\n{notes}" if notes else "")

    def numbers(self) -> dict:
        """The content for JSON."""
        metrics = {one.metric: {k: v for k, v in vars(one).items() if k != "metric"} for one in self.differences}
        return {
            "sets": list(self.dsets),
            "a": self.systems[0],
            "b": self.systems[1],
            "seeds": list(self.seeds),
            "utterances": self.utterances,
            "metrics": metrics,
            "notes": list(self.notes),
        }


def compare_seeds(
    scores: list[Score],
    systems: tuple[str, str],
    seeds: Sequence[int] = (),
    dsets: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    as_one: bool = False,
    resampled: Resampled | None = None,
) -> list[SeedComparison]:
    """Compare two systems, each trained with several seeds.

    Args:
        systems: names of systems, of several seeds with {seed} in the place of the seed.
        seeds: that both have; none: a system of one seed.
        dsets: sets; None: all that all have.
        metrics: None: all that all have.
        as_one: the sets count as one, for one comparison instead of one per set.

    Raises:
        SecError: see `compare`; a name without {seed}.
    """
    for system in systems:
        if bool(seeds) != (SLOT in system):
            what = f"must hold {SLOT}, in the place of the seed" if seeds else "holds {seed}; give --seeds"
            raise SecError(f"--compare: {system!r}: {what}")
    for name in metrics or ():
        find_metric(name)
    named = [[system.replace(SLOT, str(seed)) for seed in seeds or (0,)] for system in systems]
    found, common = choose_sets(scores, [name for one in named for name in one], dsets)
    known = resampled or Resampled()
    groups = [common] if as_one else [[dset] for dset in common]
    return [_compare(systems, named, seeds, found, group, metrics, known) for group in groups]


def _compare(systems, named, seeds, found, dsets, metrics, resampled) -> SeedComparison:
    pairs = [[(found[a][dset], found[b][dset]) for dset in dsets] for a, b in zip(*named, strict=True)]
    utterances = [[check_comparable(*pair, resampled) for pair in of_seed] for of_seed in pairs]
    shared = set.intersection(*(set(one.metrics) for of_seed in pairs for pair in of_seed for one in pair))

    def addends(name: str) -> list[tuple[Addends, ...]]:
        """Of A and B, of each seed."""
        both = [[parts_of(pair, name) for pair in of_seed] for of_seed in utterances]
        return [tuple(map(together, zip(*of_seed, strict=True))) for of_seed in both]

    parts, notes = by_metric(addends, metrics, shared, systems, ", ".join(dsets))
    drawn = iter(bootstrap([part for of_seeds in parts.values() for both in of_seeds for part in both]))
    differences = [_difference(name, both, [next(drawn) - next(drawn) for _ in both]) for name, both in parts.items()]
    number = sum(len(pair[0].ids) for pair in utterances[0])
    return SeedComparison(systems, dsets, list(seeds), number, differences, notes)


def _difference(name: str, parts: Sequence[tuple[Addends, ...]], drawn: Sequence[np.ndarray]) -> SeedDifference:
    """Of the parts of A and B, and their resampled differences, of each seed."""
    a, b = ([part.observed() for part in of_system] for of_system in zip(*parts, strict=True))
    mean = over_seeds(drawn)
    return SeedDifference(name, a, b, round(float(np.mean(a) - np.mean(b)), 9), *interval(mean), p_value(mean))

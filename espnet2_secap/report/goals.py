"""Goals of a recipe, and whether the results reach them.

A goals file is JSON: {"<system>": {"<set>": {"<metric>": GOAL or [GOAL, ...]}}}. System and set may be patterns
("sec_*/decode_*", "*"). A system's pattern matches systems that use the audio; if there is none, it matches baselines.

    GOAL    [SIGN, TARGET] or [SIGN, TARGET, "interval"]
    SIGN    ">=", ">", "<=" or "<"
    TARGET  a number, or a string "[NUMBER *] ROW [+ NUMBER]" or "[NUMBER *] ROW [- NUMBER]", blanks around * + -
    ROW     shuffled_audio, nearest_caption: the system's own companion (<system>_shuffled_audio)
            random_caption, frequent_caption, or any other system: its value on the same set by the same metric

With "interval" it is not enough that the value reaches the target: the whole 95% interval of the value, or where the
target is a row of the paired difference to it, has to. [">", "shuffled_audio", "interval"]: it listens.
"""

import math
import operator
import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.report.collect import BASELINES, NEAREST, SHUFFLED, Score, is_sanity, marked
from espnet2_secap.report.compare import check_comparable
from espnet2_secap.report.resample import Resampled, interval
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import between

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
ROWS = "give shuffled_audio, nearest_caption, random_caption, frequent_caption or <system>, blanks around * + -"
COMPANIONS = {suffix.removeprefix("_"): suffix for suffix in (SHUFFLED, NEAREST)}
FORM = (
    '{"<system>": {"<set>": {"<metric>": GOAL or [GOAL, ...]}}}, where GOAL is [">=", 85], '
    '[">=", "shuffled_audio + 12"], [">", "2.5 * random_caption"] or [">", "shuffled_audio", "interval"]'
)
_NUMBER = r"\d+(?:\.\d+)?"
_TARGET = re.compile(rf"(?:({_NUMBER}) \* )?(?!{_NUMBER}$)([^\s*]+)(?: ([+-]) ({_NUMBER}))?")


@dataclass(frozen=True)
class Goal:
    """One goal: `sign` of a metric's value and factor * value of `row` + offset.

    Args:
        source: the file.
        system, dset: patterns.
        metric: its name.
        sign: a key of OPERATORS.
        factor, row, offset: the target; without a row it is the offset.
        interval: whether the 95% interval has to reach it.
        target: as written.
    """

    source: str
    system: str
    dset: str
    metric: str
    sign: str
    factor: float
    row: str | None
    offset: float
    interval: bool
    target: float | str

    def __str__(self) -> str:
        return f"{self.sign} {self.target}" + (", interval" if self.interval else "")

    def where(self) -> str:
        """Its place in the file, for messages."""
        return f"{self.source}: {self.system}: {self.dset}: {self.metric}"


def read_goals(path: str | Path) -> list[Goal]:
    """Read a goals file.

    Raises:
        SecError: no such file, or another format.
    """
    if not Path(path).is_file():
        raise SecError(f"{path}: no such goals file; check the path or omit --goals")
    goals = []
    try:
        for system, sets in read_json(path, by_hand=True).items():
            for dset, metrics in sets.items():
                for metric, wanted in metrics.items():
                    several = isinstance(wanted, list) and bool(wanted) and all(isinstance(it, list) for it in wanted)
                    for one in wanted if several else [wanted]:
                        goals.append(_goal(str(path), system, dset, metric, one))
    except (ValueError, TypeError, AttributeError, RecursionError) as err:
        raise SecError(f"{path}: is not a goals file ({err}); expected {FORM}") from None
    return goals


def goal_table(goals: list[Goal], scores: list[Score], resampled: Resampled | None = None) -> Table:
    """One row per goal, system and set with the value reached: met, missed, or not measured.

    Raises:
        SecError: a goal for a metric or a row that cannot exist.
    """
    found = {(score.system, score.dset): score for score in scores}
    known = resampled or Resampled()
    rows: dict[tuple, list[list[Cell]]] = {}  # what one pattern says about one system stands together
    for goal in goals:
        _check(goal, found)
        matching = [key for key in found if fnmatchcase(key[0], goal.system) and fnmatchcase(key[1], goal.dset)]
        listening = [key for key in matching if not is_sanity(key[0])]
        for system, dset in listening or matching or [(goal.system, goal.dset)]:
            reached, wanted, verdict = _judge(goal, system, dset, found, known)
            cells = [Cell(system, code=True), Cell(dset), Cell(goal.metric), Cell(reached), Cell(wanted, code=True)]
            tone = {"met": "good", "missed": "bad"}.get(verdict, "")
            row = [*cells, Cell(verdict, bold=verdict != "met", tone=tone)]
            rows.setdefault((goal.system, goal.dset, system, dset), []).append(row)
    return marked(Table(["system", "set", "metric", "reached", "goal", ""], sum(rows.values(), []), {3}), scores)


def is_row(row: str) -> bool:
    """Whether a goal may refer to it, whatever was run: a companion, a baseline, or the path of a system."""
    return row in COMPANIONS or row in BASELINES or "/" in row


def _goal(source: str, system: str, dset: str, metric: str, wanted) -> Goal:
    """Raises ValueError for what is no goal."""
    sign, target, *more = wanted
    shown = f"{metric}: {wanted}"
    if sign not in OPERATORS or more not in ([], ["interval"]) or isinstance(target, bool):
        raise ValueError(shown)
    if isinstance(target, str):
        match = _TARGET.fullmatch(" ".join(target.split()))
        if not match:
            raise ValueError(shown)
        factor, row, direction, offset = match.groups()
        parts = float(factor or 1), row, float(f"{direction or ''}{offset or 0}")
    else:
        parts = 0.0, None, float(target)
    if not all(math.isfinite(part) for part in parts if isinstance(part, float)):
        raise ValueError(shown)
    return Goal(source, system, dset, metric, sign, *parts, bool(more), target)


def _check(goal: Goal, found: dict[tuple[str, str], Score]) -> None:
    """A metric or a row with a typing error would never be measured; a system that was not run is no error."""
    try:
        find_metric(goal.metric)
    except SecError as err:
        raise SecError(f"{goal.where()}: {str(err).removeprefix('--metrics: ')}") from None
    systems = {system for system, _ in found}
    if goal.row is None or is_row(goal.row) or goal.row in systems:
        return
    alike = get_close_matches(goal.row, [*COMPANIONS, *BASELINES, *systems], 1)
    hint = f" (did you mean {alike[0]}?)" if alike else ""
    raise SecError(f"{goal.where()}: there is no row or system {goal.row!r}{hint}; {ROWS}")


def _judge(
    goal: Goal, system: str, dset: str, found: dict[tuple[str, str], Score], resampled: Resampled
) -> tuple[str, str, str]:
    """What was reached, what was wanted, the verdict."""
    own = found.get((system, dset))
    other = _row_of(goal.row, system, dset, found) if goal.row else None
    value, compared = _mean(own, goal.metric), _mean(other, goal.metric)
    bound = goal.offset if goal.row is None else None if compared is None else goal.factor * compared + goal.offset
    wanted = str(goal) + (f" = {bound:.2f}" if goal.row and bound is not None and not goal.interval else "")
    shown = "-" if value is None else f"{value:.2f}"
    if value is None or bound is None:
        return shown, wanted, "not measured"
    if not goal.interval:
        return shown, wanted, "met" if OPERATORS[goal.sign](value, bound) else "missed"
    try:
        drawn = _sampled(own, goal.metric, resampled)
        if other:
            check_comparable(own, other, resampled)
            drawn = np.round(drawn - goal.factor * _sampled(other, goal.metric, resampled), 9)
    except SecError as err:
        return shown, wanted, f"not measured: {str(err).removeprefix('--compare: ')}"
    low, high = interval(drawn)
    difference = f"{value - goal.factor * compared:+.2f}" if other else shown
    met = OPERATORS[goal.sign](low if goal.sign in (">", ">=") else high, goal.offset)
    return f"{difference} ({between((low, high), '+' if other else '')})", wanted, "met" if met else "missed"


def _sampled(score: Score, metric: str, resampled: Resampled) -> np.ndarray:
    values = resampled.of(score).sampled.get(metric)
    if values is None:
        raise SecError(f"{metric} of {score.system} cannot be resampled")
    return values


def _row_of(row: str, system: str, dset: str, found: dict[tuple[str, str], Score]) -> Score | None:
    """The score that a goal refers to; of baselines that in the nearest folder of the system."""
    if row in COMPANIONS:
        return found.get((system + COMPANIONS[row], dset))
    folders = system.split("/")[:-1]
    names = ["/".join([*folders[:depth], row]) for depth in range(len(folders), -1, -1)]
    return next((found[name, dset] for name in names if (name, dset) in found), None)


def _mean(score: Score | None, metric: str) -> float | None:
    return score.metrics.get(metric, {}).get("mean") if score else None

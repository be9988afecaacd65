"""Goals of a recipe, and whether the results reach them.

A goals file is JSON: {"<system>": {"<set>": {"<metric>": [">=", 85]}}}. The system may be a pattern ("sec_*/decode_*").
It matches systems that use the audio; if there is none, it matches baselines. Instead of a number a goal may refer to
another row of the same set: [">=", "2.5 * random_caption"].
"""

import math
import operator
from fnmatch import fnmatchcase
from pathlib import Path

from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import is_sanity
from espnet2_secap.report.table import Cell, Table

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_FORMAT = '{"<system>": {"<set>": {"<metric>": [">=", 85 or "2.5 * random_caption"]}}}'


def read_goals(path: str | Path) -> list[tuple[str, str, str, str, float | str]]:
    """Read a goals file: (system, set, metric, operator, target) for each goal.

    Raises:
        SecError: no such file, or another format.
    """
    if not Path(path).is_file():
        raise SecError(f"{path}: no such goals file; check the path or omit --goals")
    goals = []
    try:
        for system, sets in read_json(path, by_hand=True).items():
            for dset, metrics in sets.items():
                for metric, (sign, target) in metrics.items():
                    if sign not in OPERATORS or isinstance(target, bool) or not isinstance(target, (int, float, str)):
                        raise ValueError(f"{metric}: {sign} {target}")
                    if not math.isfinite(_target(target)[0]):
                        raise ValueError(f"{metric}: {sign} {target}")
                    goals.append((system, dset, metric, sign, target))
    except (ValueError, TypeError, AttributeError, RecursionError) as err:
        raise SecError(f"{path}: is not a goals file ({err}); expected {_FORMAT}") from None
    return goals


def goal_table(goals: list[tuple[str, str, str, str, float | str]], results: dict) -> Table:
    """One row per goal with the value reached: met, missed, or not measured."""
    rows = []
    for pattern, dset, metric, sign, target in goals:
        fitting = [name for name in results if fnmatchcase(name, pattern) and dset in results[name]]
        systems = [name for name in fitting if not is_sanity(name)] or fitting
        factor, other = _target(target)
        bound = factor if other is None else _scaled(factor, _mean(results, other, dset, metric))
        wanted = f"{sign} {target}" + (f" = {bound:.2f}" if other and bound is not None else "")
        for system in systems or [pattern]:
            value = _mean(results, system, dset, metric)
            if value is None or bound is None:
                verdict = "not measured"
            else:
                verdict = "met" if OPERATORS[sign](value, bound) else "missed"
            shown = "-" if value is None else f"{value:.2f}"
            cells = [Cell(system, code=True), Cell(dset), Cell(metric), Cell(shown), Cell(wanted, code=True)]
            rows.append([*cells, Cell(verdict, bold=verdict != "met")])
    return Table(["system", "set", "metric", "reached", "goal", ""], rows, {3})


def _target(target: float | str) -> tuple[float, str | None]:
    """A number, or a factor and the name of the row that it multiplies."""
    if not isinstance(target, str):
        return float(target), None
    factor, star, other = target.rpartition("*")
    return (float(factor) if star else 1.0), other.strip()


def _scaled(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _mean(results: dict, system: str, dset: str, metric: str) -> float | None:
    return results.get(system, {}).get(dset, {}).get(metric, {}).get("mean")

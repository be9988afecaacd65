"""Does it listen? Each system that uses the audio against itself on other audio, and against its nearest neighbours.

`<system>_shuffled_audio` is the same model, each utterance with another one's audio: what it reaches needs no
listening. `<system>_nearest_caption` are the training captions of the recordings whose features are nearest: what it
reaches needs no training. Differences are paired by utterance (report/compare.py).
"""

import re
from dataclasses import dataclass

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Metric
from espnet2_secap.metric.registry import attribute_of, column_order, find_metric
from espnet2_secap.report.collect import NEAREST, SHUFFLED, Score, is_sanity, marked
from espnet2_secap.report.compare import Difference, compare
from espnet2_secap.report.resample import Resampled, interval
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import between, label

TITLE = "Does it listen?"
LEGEND = (
    "Value minus that of the same model with the audio of other utterances (shuffled_audio); 95%: paired bootstrap over"
    " the utterances. It listens where the interval of the difference lies above 0 (below 0 where less is better)."
)
_VALUES = re.compile(r" \(-?[\d.]+, -?[\d.]+\)")
_LITTLE = "a trained model that is not better than the training captions of the nearest recordings has learned little"


@dataclass(frozen=True)
class Listening:
    """The table of a set, if any system can be compared, and what it says in words."""

    table: Table | None
    notes: list[str]


def listening(scores: list[Score], resampled: Resampled) -> Listening | None:
    """Compare each system of a set that uses the audio with its companions; None if no system has shuffled audio.

    Args:
        scores: all of the same set.
        resampled: their values by utterance.
    """
    by_system = {score.system: score for score in scores}
    own = [name for name in by_system if not is_sanity(name) and name + SHUFFLED in by_system]
    rows, notes, remarks = [], [], []
    nearest = any(name + NEAREST in by_system for name in own)
    for name in own:
        shuffled = _differences(by_system, name, SHUFFLED, resampled, remarks)
        near = _differences(by_system, name, NEAREST, resampled, remarks) if name + NEAREST in by_system else {}
        for one in shuffled.values():
            span = interval(resampled.of(by_system[name]).sampled[one.metric])
            rows.append(_row(name, one, span, near.get(one.metric), nearest))
        notes += _in_words(name, shuffled, near)
    if not own:
        return None
    header = ["system", "metric", "value", "95%", "shuffled_audio", "difference", "95%", "verdict"]
    header += ["nearest_caption", "difference", "95%"] if nearest else []
    table = marked(Table(header, rows, set(range(2, len(header))) - {7}), scores) if rows else None
    return Listening(table, [*notes, *dict.fromkeys(remarks), *([LEGEND] if rows else [])])


def is_above(one: Difference) -> bool:
    """Whether the 95% interval of a difference lies on the better side of 0."""
    return one.high < 0 if find_metric(one.metric).lower_is_better else one.low > 0


def _differences(
    by_system: dict[str, Score], name: str, suffix: str, resampled: Resampled, remarks: list[str]
) -> dict[str, Difference]:
    """metric -> difference to a companion, attributes first; why there are none is added to the remarks."""
    pair = [by_system[name], by_system[name + suffix]]
    try:
        (found,) = compare(pair, (name, name + suffix), resampled=resampled)
    except SecError as err:
        remarks.append(f"{name}: cannot be compared with {suffix[1:]}: {str(err).removeprefix('--compare: ')}")
        return {}
    remarks += [_VALUES.sub("", note) for note in found.notes if "is omitted" not in note]
    kept = [one for one in found.differences if _tells(find_metric(one.metric))]
    return {one.metric: one for one in sorted(kept, key=lambda one: attribute_of(one.metric) is None)}


def _tells(metric: Metric) -> bool:
    """Whether a better value may come from the audio."""
    return not metric.neutral and not metric.text_only


def _row(name: str, one: Difference, span: tuple[float, float], near: Difference | None, nearest: bool) -> list[Cell]:
    heard = is_above(one)
    verdict = "listens" if heard else f"not {_side(one)} {SHUFFLED[1:]}"
    cells = [Cell(name, code=True), Cell(label(one.metric)), Cell(f"{one.a:.2f}"), Cell(between(span))]
    cells += [Cell(f"{one.b:.2f}"), Cell(f"{one.difference:+.2f}"), Cell(between((one.low, one.high), "+"))]
    cells.append(Cell(verdict, bold=not heard, tone="good" if heard else "bad"))
    if nearest and near is None:
        cells += [Cell("-")] * 3
    elif near:
        tone = "good" if is_above(near) else "bad" if _is_worse(near) else ""
        cells += [Cell(f"{near.b:.2f}"), Cell(f"{near.difference:+.2f}", bold=tone == "bad", tone=tone)]
        cells.append(Cell(between((near.low, near.high), "+")))
    return cells


def _in_words(name: str, shuffled: dict[str, Difference], near: dict[str, Difference]) -> list[str]:
    """What the rows of a system say."""
    said = []
    for side in ("above", "below"):
        deaf = [one for one in shuffled.values() if not is_above(one) and _side(one) == side]
        worse = [one for one in near.values() if _is_worse(one) and _side(one) == side]
        open_ = [one for one in near.values() if not _is_worse(one) and not is_above(one) and _side(one) == side]
        said += [f"{name}: {_labels(deaf)}: not {side} shuffled_audio"] if deaf else []
        said += [f"{name}: {_labels(worse)}: not {side} nearest_caption: {_LITTLE}"] if worse else []
        unsure = f"{side} nearest_caption, but the interval of the difference includes 0"
        said += [f"{name}: {_labels(open_)}: {unsure}"] if open_ else []
    if shuffled and all(map(is_above, shuffled.values())):
        said.insert(0, f"{name}: listens by every metric")
    return said


def _labels(differences: list[Difference]) -> str:
    return ", ".join(label(one.metric) for one in differences)


def _is_worse(one: Difference) -> bool:
    return one.difference >= 0 if find_metric(one.metric).lower_is_better else one.difference <= 0


def _side(one: Difference) -> str:
    return "below" if find_metric(one.metric).lower_is_better else "above"


def interval_table(scores: list[Score], resampled: Resampled) -> Table | None:
    """The 95% intervals of all systems of a set, systems by metrics; None if no values are known by utterance."""
    spans = {score.system: resampled.intervals(score) for score in scores}
    columns = column_order(name for found in spans.values() for name in found)
    if not columns:
        return None
    rows = [
        [Cell(system, code=True), *(Cell(between(found[name]) if name in found else "-") for name in columns)]
        for system, found in spans.items()
    ]
    return marked(Table(["system", *map(label, columns)], rows, set(range(1, len(columns) + 1))), scores)

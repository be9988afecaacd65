"""Similarity of emotions in the space of valence, arousal and dominance: afraid for sad is less wrong than happy."""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError, few
from espnet2_secap.metric.abs_metric import (
    Context,
    Metric,
    MetricUnavailable,
    ScoreFunction,
)
from espnet2_secap.metric.recall import over_known
from espnet2_secap.metric.words import Categories

Point = tuple[float, float, float]
OWN = Path(__file__).with_name("vad.json")


def read_vad(path: str | Path = OWN) -> dict[str, Point]:
    """Category or word -> valence, arousal and dominance, each from -1 to 1.

    Args:
        path: JSON, {"happy": [0.81, 0.51, 0.46], "欣喜若狂": [0.9, 0.8, 0.5], ...}; _name: a comment.

    Raises:
        SecError: no JSON of this form.
    """
    content = read_json(path, f"see {OWN} for the form", by_hand=True)
    points: dict[str, Point] = {}
    for name, values in content.items() if isinstance(content, dict) else [("", content)]:
        if name.startswith("_"):
            continue
        if not name.strip() and isinstance(content, dict):
            raise SecError(f"{path}: a name is empty; give a category or a word")
        numbers = isinstance(values, list) and all(type(one) in (int, float) for one in values)
        if not numbers or len(values) != 3 or not all(-1 <= one <= 1 for one in values):
            raise SecError(
                f"{path}: {name}: must be valence, arousal, dominance, each from -1 to 1: [0.81, 0.51, 0.46]"
            )
        points[name] = tuple(map(float, values))
    return points


def _with_words(categories: Categories, words: Iterable[str]) -> Categories:
    """Categories in which each of the words is one of its own."""
    own = Categories({word: [word] for word in words})
    kept: dict[str, list[str]] = {name: [] for name in categories}
    hidden = []
    for phrase, found in categories.table.items():
        for name in found if phrase not in own.table else ():
            kept[name].append(phrase)
        if not found and phrase not in own.table:
            hidden.append(phrase)
    return Categories({**kept, **own}, hidden, categories.negations)


def _farthest(points: Mapping[str, Point]) -> float:
    return max(math.dist(a, b) for a in points.values() for b in points.values())


@cache
def _own() -> dict[str, Point]:
    return read_vad()


def emotion_similarity(context: Context) -> ScoreFunction:
    """100 (1 - d / D): d is the distance of the means of the emotions that a caption names and that are true, D that of
    the two points that are farthest apart.

    --vad FILE changes and adds points: of categories, and of words, which then have another one than their category. A
    caption that names no emotion has 0; an utterance whose emotion is not known has no value.
    """
    categories = context.categories("emotion")
    given = read_vad(context.models["vad"]) if "vad" in context.models else {}
    points = {name: point for name, point in _own().items() if name in categories} | given
    if without := [name for name in categories if name not in points]:
        raise MetricUnavailable(f"there is no point for {few(without)}; add it to a file and give --vad FILE")
    farthest = _farthest(points)
    if not farthest:
        raise MetricUnavailable("all emotions have the same point; change --vad FILE")
    categories = _with_words(categories, [name for name in given if name not in categories])

    def mean(names) -> Point:
        return tuple(sum(values) / len(names) for values in zip(*(points[name] for name in names), strict=True))

    def likeness(true: set[str], stated: set[str]) -> float:
        return 100 * (1 - math.dist(mean(true), mean(stated)) / farthest) if stated else 0.0

    return over_known(context, "emotion", categories, likeness)


METRICS = [Metric("emotion_similarity", "emotion similarity", emotion_similarity)]

"""Similarity of emotions in the space of valence, arousal and dominance: afraid for sad is less wrong than happy."""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError, few
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
    nothing_known,
)
from espnet2_secap.metric.words import named

Point = tuple[float, float, float]
OWN = Path(__file__).with_name("vad.json")


def read_vad(path: str | Path = OWN) -> dict[str, Point]:
    """Category -> valence, arousal and dominance, each from -1 to 1.

    Args:
        path: JSON, {"happy": [0.81, 0.51, 0.46], ...}; keys that begin with _ are comments.

    Raises:
        SecError: no JSON of this form; fewer than two different points.
    """
    content = read_json(path, f"see {OWN} for the form", by_hand=True)
    points: dict[str, Point] = {}
    for name, values in content.items() if isinstance(content, dict) else [("", content)]:
        if name.startswith("_"):
            continue
        numbers = isinstance(values, list) and all(type(one) in (int, float) for one in values)
        if not numbers or len(values) != 3 or not all(-1 <= one <= 1 for one in values):
            raise SecError(
                f"{path}: {name}: must be valence, arousal, dominance, each from -1 to 1: [0.81, 0.51, 0.46]"
            )
        points[name] = tuple(map(float, values))
    if len(set(points.values())) < 2:
        raise SecError(f"{path}: has no two categories with different points; add some")
    return points


def _farthest(points: Mapping[str, Point]) -> float:
    return max(math.dist(a, b) for a in points.values() for b in points.values())


@cache
def _own() -> dict[str, Point]:
    return read_vad()


def emotion_similarity(context: Context) -> ScoreFunction:
    """100 (1 - d / D): d is the distance of the means of the emotions that a caption names and that are true, D that of
    the two categories that are farthest apart.

    A caption that names no emotion has 0; an utterance whose emotion is not known has no value.
    """
    categories = context.categories("emotion")
    path = context.models.get("vad")
    points = read_vad(path) if path else _own()
    without = [name for name in categories if name not in points]
    if without:
        raise MetricUnavailable(
            f"{path or OWN.name} has no point for {few(without)}; give --vad FILE with all categories"
        )
    farthest = _farthest(points)

    def mean(names) -> Point:
        return tuple(sum(values) / len(names) for values in zip(*(points[name] for name in names), strict=True))

    def true_of(utt: str, references: References) -> set[str]:
        if "emotion" in context.truth:
            return set(context.truth["emotion"].get(utt, ()))
        return {category for caption in references[utt] for category in named(caption, categories)}

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, caption in hypotheses.items():
            true, stated = true_of(utt, references), set(named(caption, categories))
            if not true:
                each[utt] = None
            else:
                each[utt] = 100 * (1 - math.dist(mean(true), mean(stated)) / farthest) if stated else 0.0
        known = [value for value in each.values() if value is not None]
        if not known:
            raise nothing_known("emotion")
        return sum(known) / len(known), each

    return score


METRICS = [Metric("emotion_similarity", "emotion similarity", emotion_similarity)]

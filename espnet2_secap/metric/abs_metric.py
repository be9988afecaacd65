"""What a metric is: a name for files, a label for tables, and a function that scores one caption per utterance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

References = dict[str, list[str]]  # id -> one or more captions by people
Hypotheses = dict[str, str]  # id -> one caption by a system, perhaps empty; the same ids
Scores = tuple[float, dict[str, float | None]]  # corpus value; id -> its value, None where it is left out
ScoreFunction = Callable[[References, Hypotheses], Scores]


class MetricUnavailable(Exception):
    """The metric cannot run here or on these captions; the message says why and reads well after "n/a: "."""


@dataclass(frozen=True)
class Context:
    """What metrics may need beside the captions.

    Args:
        segment: caption -> its tokens with blanks between them.
        words: attribute -> categories and their words (`load_words`).
        truth: attribute -> id -> true categories, for the attributes whose truth is known; for the others the
            references are taken for it.
        models: metric -> folder or hub name of the model it needs (sim1, sim2, bertscore).
        shared: what metrics keep for each other, such as SPICE's program for SPIDEr.
        device: of these models: cpu, cuda or cuda:N.
    """

    segment: Callable[[str], str]
    words: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    truth: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    shared: dict[str, object] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Sums:
    """How the corpus value of a metric comes about that is not the mean of the utterances' values.

    Args:
        numbers: context, references, hypotheses -> id -> the numbers that are added up over the utterances.
        value: their sums in the last axis -> per cent, without that axis.
    """

    numbers: Callable[[Context, References, Hypotheses], dict[str, list[float]]]
    value: Callable[["np.ndarray"], "np.ndarray"]


@dataclass(frozen=True)
class Metric:
    """One column of the result table.

    Args:
        name: in score.json and on the command line.
        label: in tables.
        make: context -> function that scores. It may be called several times, once for each candidate; all values
            are in per cent. It raises MetricUnavailable where it cannot run.
        lower_is_better: whether the smallest value is the best one.
        sums: for resampling, where the corpus value is not the mean of the utterances' values.
        of_set: whether it counts different things in the whole set. Resampled utterances, some of them there
            twice, tell nothing of it.
    """

    name: str
    label: str
    make: Callable[[Context], ScoreFunction]
    lower_is_better: bool = False
    sums: Sums | None = None
    of_set: bool = False

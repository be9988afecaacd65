"""What a metric is: a name for files, a label for tables, and a function that scores one caption per utterance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

References = dict[str, list[str]]  # id -> one or more human captions
Hypotheses = dict[str, str]  # id -> one caption of a system, possibly empty; the same ids
Scores = tuple[float, dict[str, float | None]]  # corpus value; id -> its value, None if the utterance is excluded
ATTRIBUTES = ("emotion", "rate", "volume", "pitch")  # what most captions are about
ScoreFunction = Callable[[References, Hypotheses], Scores]


class MetricUnavailable(Exception):
    """The metric cannot run here or on these captions; the message says why and reads well after "n/a: "."""


@dataclass(frozen=True)
class Context:
    """What metrics may need besides the captions.

    Args:
        segment: caption -> its tokens, separated by single spaces.
        words: attribute -> categories and their words (`load_words`).
        truth: attribute -> id -> true categories, for the attributes whose truth is known; for the others the
            categories that the references name are used.
        models: option of sec_score -> its value: folder or hub name of a model (sim1, judge, ...), or a file.
        shared: objects that several metrics use, such as SPICE's program, which SPIDEr needs too.
        device: of these models: cpu, cuda or cuda:N.
        train: the training captions, in the Unicode form of the references; id -> those of its own training set in
            cross-validation; None if they are not given.
        transcripts: id -> the spoken words, of the utterances of which they are known.
        instructions: to the language model that wrote the captions.
        attributes: those that hallucination and coverage are about; the ones without words are left out.
        notes: what metrics tell the reader of the scores beside their values.
    """

    segment: Callable[[str], str]
    words: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    truth: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    shared: dict[str, object] = field(default_factory=dict)
    device: str = "cpu"
    train: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    transcripts: Mapping[str, str] = field(default_factory=dict)
    instructions: Sequence[str] = ()
    attributes: tuple[str, ...] = ATTRIBUTES
    notes: list[str] = field(default_factory=list)

    def categories(self, attribute: str) -> dict[str, list[str]]:
        """The words of an attribute's categories.

        Raises:
            MetricUnavailable: the words file has none.
        """
        if attribute not in self.words:
            raise MetricUnavailable(f"the words file has no attribute {attribute!r}")
        return self.words[attribute]

    def given(self, option: str, what: str, form: str = "FOLDER_OR_HUB_NAME") -> str:
        """The value of an option of sec_score.

        Raises:
            MetricUnavailable: it is not given.
        """
        if option not in self.models:
            raise MetricUnavailable(f"no {what} given; choose one with --{option} {form}")
        return self.models[option]

    def loaded(self, option: str, load: Callable[[str, str], Any], what: str, form: str = "FOLDER_OR_HUB_NAME") -> Any:
        """The model of an option, `load(value, device)`, loaded once for all metrics that use it; see `given`."""
        value = self.given(option, what, form)
        if option not in self.shared:
            self.shared[option] = load(value, self.device)
        return self.shared[option]


def nothing_known(attribute: str) -> MetricUnavailable:
    """Why there is no value where the truth is known of no utterance."""
    return MetricUnavailable(f"no reference names its {attribute}, and no true {attribute} is given")


def mean_of_known(each: dict[str, float | None], attribute: str) -> Scores:
    """The utterances' values with their mean, over those that have one.

    Raises:
        MetricUnavailable: none has, since their true `attribute` is not known.
    """
    known = [one for one in each.values() if one is not None]
    if not known:
        raise nothing_known(attribute)
    return sum(known) / len(known), each


@dataclass(frozen=True)
class Sums:
    """How to compute a corpus value that is not the mean of the utterances' values.

    Args:
        numbers: context, references, hypotheses -> id -> the numbers to be summed over the utterances.
        value: arrays with these sums in the last axis -> per cent, without that axis.
        needs_words: whether `numbers` reads the context's words and truth.
    """

    numbers: Callable[[Context, References, Hypotheses], dict[str, list[float]]]
    value: Callable[["np.ndarray"], "np.ndarray"]
    needs_words: bool = False


@dataclass(frozen=True)
class Metric:
    """One column of the result table.

    Args:
        name: in score.json and on the command line.
        label: in tables.
        make: context -> scoring function, which is called once for each candidate; all values are in per cent. It
            raises MetricUnavailable where the metric cannot run.
        lower_is_better: whether the smallest value is the best one.
        sums: needed for resampling if the corpus value is not the mean of the utterances' values.
        counts_distinct: whether it counts distinct items in the whole set. It cannot be resampled: a resampled set
            contains utterances several times.
        neutral: whether neither a high nor a low value is the better one.
        text_only: whether it judges the caption's form alone, so that the captions of other audio are as good: it does
            not tell whether a system listens.
    """

    name: str
    label: str
    make: Callable[[Context], ScoreFunction]
    lower_is_better: bool = False
    sums: Sums | None = None
    counts_distinct: bool = False
    neutral: bool = False
    text_only: bool = False

"""Bootstrap over the utterances: the distribution of a system's value over sets of utterances of the same kind.

A resample draws as many utterances as the set has, with replacement (Koehn, EMNLP 2004). The candidates
of an utterance are drawn together: each candidate is scored as a set, and the value is the mean over the candidates.
Systems with equally many utterances get the same resamples, so that differences are paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from espnet2_secap.data.text_file import read_table
from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import ATTRIBUTES, Context, MetricUnavailable
from espnet2_secap.metric.facts import asked
from espnet2_secap.metric.hallucination import fact_numbers
from espnet2_secap.metric.normalize import FORMS, compared, normalizer, spoken
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.score import read_truth
from espnet2_secap.metric.segment import SEGMENTERS, segmenter
from espnet2_secap.metric.words import load_words
from espnet2_secap.report.collect import Score, read_examples

RESAMPLES = 10_000
SEED = 0
CHUNK = 500  # resamples in memory at a time


@dataclass(frozen=True)
class Addends:
    """One metric of one system, as numbers to be summed over the utterances.

    Args:
        numbers: (candidates, utterances, numbers)
        value: sums (..., numbers) -> values (...)
        mean: whether the value is the mean of the utterances' values.
    """

    numbers: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]
    mean: bool = True

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Values (resamples,) if utterance u occurs `counts[:, u]` times; NaN if no utterance has a value."""
        sums = np.tensordot(counts, self.numbers, axes=(1, 1))  # (resamples, candidates, numbers)
        with np.errstate(invalid="ignore"):
            return self.value(sums).mean(-1)

    def observed(self) -> float:
        """The value on the set itself."""
        return float(self.of(np.ones((1, self.numbers.shape[1])))[0])


class Utterances:
    """A system's values per utterance: `ids`, and `values`: metric -> (candidates, utterances), NaN for none.

    Raises:
        SecError: scores.tsv is missing or was not written by sec_score.
    """

    def __init__(self, score: Score):
        self.score = score
        self.ids, self.values = _read_scores(score)
        self._counted: dict[Callable, np.ndarray] = {}

    def addends(self, name: str) -> Addends:
        """The numbers to be summed for a metric.

        Raises:
            MetricUnavailable: it cannot be computed from resampled utterances; the message says why.
        """
        try:
            metric = find_metric(name)
        except SecError:
            raise MetricUnavailable("is not a metric of this version") from None
        if name not in self.values:
            raise MetricUnavailable(self.score.metrics.get(name, {}).get("reason") or "was not computed")
        if metric.counts_distinct:
            raise MetricUnavailable("counts distinct items, but a resampled set contains utterances several times")
        if metric.sums:
            counted = self._count(metric.sums.numbers, metric.sums.needs_words)
            return Addends(counted, metric.sums.value, mean=False)
        values = self.values[name]
        known = np.isfinite(values)
        if not known.any(axis=1).all():
            raise MetricUnavailable("has no values per utterance")
        return Addends(np.stack([np.where(known, values, 0.0), known], -1), lambda sums: sums[..., 0] / sums[..., 1])

    def facts(self) -> np.ndarray:
        """(candidates, utterances, 3): attributes of which a wrong category is named, of which any is, and of which any
        is that can be judged.

        Raises:
            MetricUnavailable: the words, labels or captions no longer exist, or there are no words of the attributes.
        """
        if not asked(self._words[0], self.score.meta.get("hallucination_attributes", ATTRIBUTES)):
            raise MetricUnavailable("needs words of emotion, rate, volume or pitch, and its words file has none")
        return self._count(fact_numbers, True)

    @cached_property
    def sampled(self) -> dict[str, np.ndarray]:
        """metric -> its values (RESAMPLES,), for the metrics that can be resampled.

        Systems with equally many utterances have the same resamples, so that differences of these values are paired.
        """
        parts = {}
        for name, value in self.score.metrics.items():
            if value["mean"] is not None:
                try:
                    parts[name] = self.addends(name)
                except (MetricUnavailable, SecError):
                    continue
        return dict(zip(parts, bootstrap(list(parts.values())), strict=True)) if parts else {}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% intervals of the system's values.

        If the mean over the utterances approximates the corpus value (METEOR), the interval is shifted to the latter.
        """
        means = {name: self.score.metrics[name]["mean"] for name in self.sampled}
        return {
            name: interval(values + means[name] - self.addends(name).observed())
            for name, values in self.sampled.items()
        }

    @cached_property
    def _words(self) -> tuple[dict, dict]:
        """The words and the truth with which sec_score scored."""
        meta = self.score.meta
        try:
            words = load_words(meta["words"])
            labelled = [name for name, source in meta.get("truth", {}).items() if source == "label" and name in words]
            found = read_truth(meta["truth_dir"], words, dict.fromkeys(self.ids))[0] if labelled else {}
            return words, {name: found[name] for name in labelled}
        except (KeyError, SecError):
            raise MetricUnavailable("is counted from captions, but their words or labels no longer exist") from None

    def _count(self, numbers: Callable, needs_words: bool) -> np.ndarray:
        """`numbers` of the captions, which BLEU-1 to 4 share."""
        if numbers not in self._counted:
            examples = read_examples(self.score)
            name = self.score.meta.get("segment")
            form = self.score.meta.get("normalize", "none")  # of an earlier version, which did not normalise
            if (
                not examples
                or name not in SEGMENTERS
                or form not in FORMS
                or any(not set(self.ids) <= part.keys() for part in examples)
            ):
                raise MetricUnavailable("is counted from captions, but the scored captions no longer exist")
            normalize = normalizer(form)
            references = {utt: compared(texts, normalize) for utt, texts in examples[0].items()}
            captions = {utt: [spoken(text, normalize) for text in texts] for utt, texts in examples[1].items()}
            examples = references, captions
            segment = segmenter(name, (text for part in examples for texts in part.values() for text in texts))
            attributes = self.score.meta.get("hallucination_attributes", ATTRIBUTES)
            context = Context(segment, *(self._words if needs_words else ()), attributes=tuple(attributes))
            rows = []
            for at in range(next(iter(self.values.values())).shape[0]):
                if any(len(captions[utt]) <= at for utt in self.ids):
                    raise MetricUnavailable("is counted from captions, but the scored captions no longer exist")
                counts = numbers(context, references, {utt: captions[utt][at] for utt in self.ids})
                rows.append([counts[utt] for utt in self.ids])
            self._counted[numbers] = np.array(rows, dtype=float)
        return self._counted[numbers]


def bootstrap(parts: Sequence[Addends], resamples: int = RESAMPLES) -> np.ndarray:
    """Values (parts, resamples) on the same resamples; all parts have equally many utterances."""
    utterances = parts[0].numbers.shape[1]
    generator = np.random.default_rng(SEED)
    values = np.empty((len(parts), resamples))
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = generator.integers(utterances, size=(size, utterances)) + utterances * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * utterances).reshape(size, utterances).astype(float)
        for row, part in zip(values, parts, strict=True):
            row[start : start + size] = part.of(counts)
    return values


def over_seeds(drawn: Sequence[np.ndarray]) -> np.ndarray:
    """Means over seeds (resamples,) of resampled values, an array of each seed; each resample draws among the seeds."""
    values = np.stack(drawn)
    if len(values) > 1:
        chosen = np.random.default_rng(SEED).integers(len(values), size=values.shape)
        values = np.take_along_axis(values, chosen, axis=0)
    return np.round(values.mean(axis=0), 9)  # rounding errors are not a difference


def interval(values: np.ndarray) -> tuple[float, float]:
    """The percentiles 2.5 and 97.5; resamples without a value (NaN) are ignored."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided: twice the share of resamples in which the difference is zero or has the rarer sign, at most 1."""
    differences = differences[np.isfinite(differences)]
    rarer = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(differences)))


class Resampled:
    """The utterances of the scores of one report, each read and resampled once."""

    def __init__(self):
        self._known: dict[Path, Utterances] = {}

    def of(self, score: Score) -> Utterances:
        """The score's utterances.

        Raises:
            SecError: scores.tsv is missing or was not written by sec_score.
        """
        if score.folder not in self._known:
            self._known[score.folder] = Utterances(score)
        return self._known[score.folder]

    def intervals(self, score: Score) -> dict[str, tuple[float, float]]:
        """95% intervals of a system's values; none if they are not known by utterance."""
        try:
            return self.of(score).intervals()
        except SecError:
            return {}


def _read_scores(score: Score) -> tuple[list[str], dict[str, np.ndarray]]:
    path = score.folder / "scores.tsv"
    try:
        header, *rows = read_table(path)
    except (OSError, ValueError):  # a SecError, too
        raise SecError(f"{path}: has no values per utterance; score {score.system} again with sec_score") from None
    names = header[2:]
    ids = list(dict.fromkeys(row[0] for row in rows))
    try:
        table = np.array([[float(cell or "nan") for cell in row[2:]] for row in rows])
        table = table.reshape(len(ids), -1, len(names))  # the candidates of an utterance are consecutive
        expected = [[utt, str(at + 1)] for utt in ids for at in range(table.shape[1])]
        if not ids or [row[:2] for row in rows] != expected:
            raise ValueError
    except ValueError:
        raise SecError(f"{path}: was not written by sec_score; score {score.system} again") from None
    return ids, {name: table[:, :, at].T for at, name in enumerate(names)}

"""Hallucinations of a caption: what truth and every reference contradict (factuality), and what is no caption of this
recording whatever was heard (faithfulness); beside them the coverage, since a caption that says less errs less.

The two kinds are those of AlignCap's abstract, their definitions are ours (docs/aligncap.md).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property

from espnet2_secap.errors import few
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
    Sums,
    mean_of_known,
)
from espnet2_secap.metric.facts import Facts, asked, caption_facts, known_facts
from espnet2_secap.metric.faithfulness import KINDS, HumanCaptions, faults
from espnet2_secap.metric.normalize import says_something
from espnet2_secap.metric.words import occurrences

FACTUALITY, FAITHFULNESS = "factuality", "faithfulness"


@dataclass(frozen=True)
class Hallucination:
    """One fault of a caption.

    Args:
        kind: factuality or faithfulness.
        what: the attribute, or one of faithfulness.KINDS.
        word: the words of the caption that show it, as they are compared (NFKC, lower case); "" if there are none.
        names: the wrong category that the word names; "" for faithfulness.
        against: what is known of the attribute: the categories of truth and references.
    """

    kind: str
    what: str
    word: str
    names: str = ""
    against: list[str] = field(default_factory=list)


class Checked:
    """The hallucinations of captions of a set; each caption of an utterance is checked once.

    Args:
        context: words, truth, transcriptions, instructions and training captions.
        references: of the set.
    """

    def __init__(self, context: Context, references: References):
        self.references = references
        self._context = context
        self._known: dict[tuple[str, tuple[str, ...]], dict[str, set[str]]] = {}
        self._found: dict[tuple[str, str], list[Hallucination]] = {}

    @cached_property
    def _human(self) -> HumanCaptions:
        words = [word for each in self._context.words.values() for several in each.values() for word in several]
        captions = [one for own in self.references.values() for one in own]
        return HumanCaptions([*captions, *_training(self._context)], words)

    def known(self, utt: str, attributes: tuple[str, ...] | None = None) -> dict[str, set[str]]:
        """What truth and references say of an utterance, by attribute (facts.known_facts); None: the context's."""
        attributes = attributes or self._context.attributes
        if (utt, attributes) not in self._known:
            context = self._context
            truth = {name: labels[utt] for name, labels in context.truth.items() if utt in labels}
            found = known_facts(self.references[utt], truth, context.words, attributes)
            self._known[utt, attributes] = found
        return self._known[utt, attributes]

    def facts(self, utt: str, caption: str, attributes: tuple[str, ...] | None = None) -> Facts:
        """What a caption names, and what of it is wrong."""
        return caption_facts(caption, self.known(utt, attributes), self._context.words)

    def of(self, utt: str, caption: str) -> list[Hallucination]:
        """All hallucinations of a caption of an utterance."""
        if (utt, caption) not in self._found:
            self._found[utt, caption] = [*self._factuality(utt, caption), *self._faithfulness(utt, caption)]
        return self._found[utt, caption]

    def _factuality(self, utt: str, caption: str) -> list[Hallucination]:
        found = {}
        for attribute, wrong in self.facts(utt, caption).wrong.items():
            for word, categories in occurrences(caption, self._context.words[attribute]):
                for one in (category for category in categories if category in wrong):
                    against = sorted(self.known(utt)[attribute])
                    found[attribute, word, one] = Hallucination(FACTUALITY, attribute, word, one, against)
        return list(found.values())

    def _faithfulness(self, utt: str, caption: str) -> list[Hallucination]:
        context = self._context
        found = faults(caption, self._human, context.transcripts.get(utt), context.instructions)
        if (
            asked(context.words, context.attributes)
            and says_something(caption)
            and not self.facts(utt, caption).coverage
        ):
            found["attributes"] = ""
        return [Hallucination(FAITHFULNESS, kind, word) for kind, word in found.items()]


def checked(context: Context, references: References) -> Checked:
    """The one `Checked` of a context and these references, which all metrics share."""
    known = context.shared.get("hallucinations")
    if not isinstance(known, Checked) or known.references is not references:
        known = context.shared["hallucinations"] = Checked(context, references)
    return known


def listed(context: Context, references: References, candidates: list[Hypotheses]) -> list[dict]:
    """The hallucinations of all candidates, as lines of hallucinations.jsonl: id, candidate (from 1), and the fields of
    `Hallucination`, without the empty ones of faithfulness."""
    check = checked(context, references)
    return [
        {"id": utt, "candidate": at} | {key: value for key, value in asdict(one).items() if value or key == "word"}
        for utt in references
        for at, captions in enumerate(candidates, 1)
        for one in check.of(utt, captions[utt])
    ]


def factuality(attributes: tuple[str, ...] | None = None) -> Callable[[Context], ScoreFunction]:
    """100 if a caption names a category of an attribute that truth and every reference contradict, else 0.

    An utterance has no value if nothing is known of any of the attributes (None: the context's).
    """

    def value(facts: Facts, known: dict[str, set[str]]) -> float | None:
        return 100.0 * (facts.errors > 0) if any(known.values()) else None

    return _by_facts(attributes, value)


def coverage(attributes: tuple[str, ...] | None = None) -> Callable[[Context], ScoreFunction]:
    """Share of the attributes (of those that have words) of which a caption names any category, right or wrong."""
    return _by_facts(attributes, lambda facts, known: 100 * facts.coverage / len(known))


def _by_facts(attributes: tuple[str, ...] | None, value: Callable[[Facts, dict], float | None]):
    def make(context: Context) -> ScoreFunction:
        named = _asked(context, attributes)

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            check = checked(context, references)
            each = {
                utt: value(check.facts(utt, caption, attributes), check.known(utt, attributes))
                for utt, caption in hypotheses.items()
            }
            return mean_of_known(each, " or ".join(named))

        return score

    return make


def _asked(context: Context, attributes: tuple[str, ...] | None = None) -> list[str]:
    """The attributes that have words.

    Raises:
        MetricUnavailable: none has.
    """
    attributes = attributes or context.attributes
    found = asked(context.words, attributes)
    if not found:
        raise MetricUnavailable(f"the words file has none of the attributes {', '.join(attributes)}")
    return found


def fact_numbers(context: Context, references: References, hypotheses: Hypotheses) -> dict[str, list[float]]:
    """Id -> [wrong attributes, attributes named, those named of which something is known]."""
    check = checked(context, references)
    found = {}
    for utt, caption in hypotheses.items():
        facts, known = check.facts(utt, caption), check.known(utt)
        judged = sum(bool(several and known[name]) for name, several in facts.named.items())
        found[utt] = [float(facts.errors), float(facts.coverage), float(judged)]
    return found


def wrong_share(context: Context) -> ScoreFunction:
    """Attributes that are named wrongly, per cent of those that are named and known: saying less does not lower it."""
    _asked(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        numbers = fact_numbers(context, references, hypotheses)
        if not any(judged for _, _, judged in numbers.values()):
            raise MetricUnavailable("no caption names an attribute of which anything is known")
        each = {utt: 100 * wrong / judged if judged else None for utt, (wrong, _, judged) in numbers.items()}
        total = [sum(row[at] for row in numbers.values()) for at in (0, 2)]
        return 100 * total[0] / total[1], each

    return score


def faithfulness(kinds: tuple[str, ...] = KINDS) -> Callable[[Context], ScoreFunction]:
    """100 if a caption has a fault of these kinds (faithfulness.KINDS), else 0; what cannot be judged is told."""

    def make(context: Context) -> ScoreFunction:
        unjudged = {}
        if not asked(context.words, context.attributes):
            unjudged["attributes"] = "the words file has none of " + ", ".join(context.attributes)
        if not context.transcripts:
            unjudged["transcription"] = "no transcriptions are given (--text_file)"
        left = [(kind, why) for kind, why in unjudged.items() if kind in kinds]
        if len(left) == len(kinds):
            raise MetricUnavailable(f"cannot be judged: {left[0][1]}")
        for kind, why in left:
            context.notes.append(f"hallucination_faithfulness: {kind} is not judged: {why}")

        def score(references: References, hypotheses: Hypotheses) -> Scores:
            check = checked(context, references)
            without = sorted(hypotheses.keys() - context.transcripts.keys())
            if without and context.transcripts and "transcription" in kinds:
                of_all = f"{len(without)} of {len(hypotheses)} utterances ({few(without)})"
                context.notes.append(f"hallucination_faithfulness: no transcription of {of_all}: not judged there")
            each: dict[str, float | None] = {
                utt: 100.0 * any(one.kind == FAITHFULNESS and one.what in kinds for one in check.of(utt, caption))
                for utt, caption in hypotheses.items()
            }
            return mean_of_known(each, "faithfulness")

        return score

    return make


def _training(context: Context) -> list[str]:
    """The training captions; in cross-validation those of all folds, of which each is a list that utterances share."""
    if context.train is None or not isinstance(context.train, dict):
        return list(context.train or ())
    return [caption for several in {id(own): own for own in context.train.values()}.values() for caption in several]


METRICS = [
    Metric("coverage", "coverage", coverage(), neutral=True),
    Metric("hallucination_factuality", "hallucination, factuality", factuality(), lower_is_better=True),
    Metric(
        "wrong_share",
        "wrong of what is named",
        wrong_share,
        lower_is_better=True,
        sums=Sums(fact_numbers, lambda sums: 100 * sums[..., 0] / sums[..., 2], needs_words=True),
    ),
    Metric(
        "hallucination_faithfulness",
        "hallucination, faithfulness",
        faithfulness(),
        lower_is_better=True,
        text_only=True,
    ),
    *(
        Metric(
            f"hallucination_faithfulness_{kind}",
            f"hallucination, {kind}",
            faithfulness((kind,)),
            lower_is_better=True,
            text_only=True,
        )
        for kind in KINDS
    ),
]

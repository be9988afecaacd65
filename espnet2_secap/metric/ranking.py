"""Ranking of several captions of an utterance by what is known of it.

First by errors: attributes of which a caption names a wrong category (facts.py), and whether it is unfaithful. Then by
coverage, the number of attributes that it names. Then by similarity: to the references, or, where there are none, to
all candidates (consensus: minimum Bayes risk). One number has this order, K being the number of attributes:

    score = -errors + (coverage + similarity) / (K + 1)

Similarity is at most 1: no similarity outweighs an attribute that is named, and all of them do not outweigh an error.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from espnet2_secap.data.preferences import essence
from espnet2_secap.data.script import in_script
from espnet2_secap.errors import SecError
from espnet2_secap.metric.dice import ngrams, similarity
from espnet2_secap.metric.facts import ATTRIBUTES, asked, caption_facts, known_facts
from espnet2_secap.metric.faithfulness import HumanCaptions, faults
from espnet2_secap.metric.judge import Judge, Question
from espnet2_secap.metric.normalize import says_something
from espnet2_secap.metric.words import Categories

FACTS = ("both", "labels", "references", "none")  # what decides whether a named category is wrong
# Of (texts, others) the mean similarity, 0 to 1, of each text to all others; for many utterances at once.
Texts = tuple[Sequence[str], Sequence[str]]
Similarity = Callable[[Sequence[Texts]], list[list[float]]]


@dataclass(frozen=True)
class Known:
    """What is known of an utterance.

    Args:
        references: human captions, or none.
        truth: attribute -> true categories, of the attributes whose labels are known.
        transcript: the spoken words, or "".
        prompt: the instruction, or "".
    """

    references: Sequence[str] = ()
    truth: Mapping[str, Sequence[str]] = field(default_factory=dict)
    transcript: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Candidate:
    """A caption with what ranks it, see the module.

    Args:
        wrong: attribute -> wrong categories that the caption names.
        unfaithful: whether it has a fault of metric/faithfulness.py (over-long, repeats itself, transcription or
            instruction, ...), is not in the script of the language, or names no attribute at all.
        coverage: number of attributes that it names.
        similarity: 0 to 1.
        score: all of it in one number.
    """

    text: str
    wrong: Mapping[str, Sequence[str]]
    unfaithful: bool
    coverage: int
    similarity: float
    score: float

    @property
    def errors(self) -> int:
        """Wrong attributes, and one for an unfaithful caption."""
        return len(self.wrong) + self.unfaithful


class Ranking:
    """Ranks the captions of utterances.

    Args:
        words: of `load_words`.
        facts: labels: a category is wrong if the label is another one; references: if the references name others
            only; both: if it is neither the label's nor a reference's; none: captions are ranked by similarity alone.
        attributes: those of the words file that count.
        lang: of the captions; "": any script.
        human: what captions of people look like, for the faults of metric/faithfulness.py.
        similar: the similarity; that of character n-grams, if none.
    """

    def __init__(
        self,
        words: Mapping[str, Categories],
        facts: str = "both",
        attributes: Iterable[str] = ATTRIBUTES,
        lang: str = "",
        human: HumanCaptions | None = None,
        similar: Similarity | None = None,
    ):
        assert facts in FACTS, facts
        self.words, self.facts, self.lang = words, facts, lang
        self.human = human or HumanCaptions(())
        self.attributes = asked(words, attributes) if facts != "none" else []
        self.similar = similar or ngram_similarity

    def known_categories(self, known: Known) -> dict[str, set[str]]:
        """Attribute -> the categories that are true of an utterance; empty where nothing is known."""
        references = known.references if self.facts in ("both", "references") else ()
        truth = known.truth if self.facts in ("both", "labels") else {}
        return known_facts(references, truth, self.words, self.attributes)

    def rank(self, utterances: Sequence[tuple[Sequence[str], Known]]) -> list[list[Candidate]]:
        """Of each utterance's texts those that say something, each once (see `essence`), the best first.

        Of equals the earlier one comes first.
        """
        spoken = [[text for text in texts if says_something(text)] for texts, _ in utterances]
        different = [list(_once(texts).values()) for texts in spoken]
        compared = [
            (texts, [one for one in known.references if says_something(one)] or every)
            for texts, every, (_, known) in zip(different, spoken, utterances, strict=True)
        ]
        output = []
        for (_, known), texts, alike in zip(utterances, different, self.similar(compared), strict=True):
            true = self.known_categories(known)
            found = [self._candidate(text, one, true, known) for text, one in zip(texts, alike, strict=True)]
            output.append(sorted(found, key=lambda one: -round(one.score, 9)))
        return output

    def _candidate(self, text: str, alike: float, true: dict[str, set[str]], known: Known) -> Candidate:
        facts = caption_facts(text, true, self.words)
        unfaithful = self.facts != "none" and (
            not in_script(text, self.lang)
            or (bool(self.attributes) and not facts.coverage)
            or bool(faults(text, self.human, known.transcript or None, [known.prompt] if known.prompt else []))
        )
        score = -(facts.errors + unfaithful) + (facts.coverage + alike) / (len(self.attributes) + 1)
        return Candidate(text, facts.wrong, unfaithful, facts.coverage, alike, score)


def _once(texts: Iterable[str]) -> dict[str, str]:
    """The first of the texts that are alike, by what they have in common."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(essence(text), text)
    return found


@lru_cache(maxsize=4096)
def _ngrams(text: str) -> Counter:
    return ngrams(text)


def ngram_similarity(utterances: Sequence[Texts]) -> list[list[float]]:
    """Dice coefficient of character n-grams: a `Similarity`."""
    output = []
    for texts, others in utterances:
        times = Counter(others)
        output.append(
            [
                sum(n * similarity(_ngrams(text), _ngrams(other)) for other, n in times.items()) / max(1, len(others))
                for text in texts
            ]
        )
    return output


def judge_matrices(judge: Judge, question: Question, utterances: Sequence[Texts]) -> list[list[list[float]]]:
    """Closeness by a language model as the judge, the mean of both orders, 1 as 0 and 5 as 1.

    Captions that are alike are not asked about, nor those that say nothing, which are close to no other. Where the
    judge gives no answer on two texts, the mean of its answers for the utterance stands for it.

    Args:
        judge, question: of `closeness`.
        utterances: of each the texts, and the others that they are compared with.

    Returns:
        for each utterance and each text the closeness to all others.

    Raises:
        SecError: it gives no answer to half of the questions or more.
    """
    pairs = {(a, b) for texts, others in utterances for a in texts for b in others if _differ(a, b)}
    both = sorted(pairs | {(b, a) for a, b in pairs})
    answers = dict(zip(both, judge.closeness(question, both), strict=True))
    silent = sum(one is None for one in answers.values())
    if 2 * silent >= len(answers) > 0:
        raise SecError(
            f"--judge {judge.path}: gives no answer to {silent} of {len(answers)} questions; take another LM or prompt"
        )

    def close(a: str, b: str) -> float | None:
        if not _differ(a, b):
            return float(essence(a) == essence(b))
        found = [one for one in (answers[a, b], answers[b, a]) if one is not None]
        return (sum(found) / len(found) - 1) / 4 if found else None

    return [_filled([[close(a, b) for b in others] for a in texts]) for texts, others in utterances]


def judge_similarity(judge: Judge, question: Question) -> Similarity:
    """Mean closeness by a judge, see `judge_matrices`: a `Similarity`."""
    return lambda utterances: [[_mean(row) for row in rows] for rows in judge_matrices(judge, question, utterances)]


def _differ(a: str, b: str) -> bool:
    """Whether a judge is asked about two texts."""
    return essence(a) != essence(b) and says_something(a) and says_something(b)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _filled(rows: list[list[float | None]]) -> list[list[float]]:
    """Rows of an utterance with the mean of what is known in place of what is not."""
    mean = _mean([one for row in rows for one in row if one is not None])
    return [[mean if one is None else one for one in row] for row in rows]

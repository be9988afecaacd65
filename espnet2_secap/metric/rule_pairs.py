"""Preference pairs by rule: a caption against itself made worse in a way that is known.

swap          a word for an attribute against one for another category       factuality
other         the caption of an utterance with another emotion               faithfulness
transcript    the spoken words instead of a caption                          faithfulness
instruction   the instruction instead of a caption                           faithfulness
cut           the caption ends within a word or clause                       faithfulness
double        the caption twice                                              faithfulness

What is drawn depends on the seed and the utterance's id alone. To add a rule, write a function and add it to RULES.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from espnet2_secap.data.preferences import Pair, alike, essence
from espnet2_secap.errors import SecError
from espnet2_secap.metric.dice import ngrams, similarity
from espnet2_secap.metric.ranking import Known, Ranking
from espnet2_secap.metric.words import Categories, named, occurrences

SAMPLE = 5000  # captions whose words are counted
TRIES = 100  # utterances that are looked at for one of another emotion
EMOTION = "emotion"


class Corpus:
    """What rules draw from: the words and captions of the training set.

    Args:
        references: id -> captions.
        known: id -> what is known of any utterance.
        ranking: with the words and attributes that count.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], known: Callable[[str], Known], ranking: Ranking):
        self.references, self.known, self.ranking = references, known, ranking
        self.ids = sorted(references)
        self._emotions: dict[str, set[str]] = {}
        self._in_use: dict[str, dict[str, list[str]]] = {}

    @property
    def words(self) -> Mapping[str, Categories]:
        """attribute -> categories."""
        return self.ranking.words

    def in_use(self, attribute: str) -> dict[str, list[str]]:
        """Category -> words of captions that name it and no other; the words file's where captions have none."""
        if attribute not in self._in_use:
            rng = random.Random(f"words {len(self.ids)}")
            ids = self.ids if len(self.ids) <= SAMPLE else sorted(rng.sample(self.ids, SAMPLE))
            counts: dict[str, set[str]] = {}
            for text in {text for utt in ids for text in self.references[utt]}:
                for word, categories in occurrences(text, self.words[attribute]):
                    if len(categories) == 1:
                        counts.setdefault(categories[0], set()).add(word)
            self._in_use[attribute] = {
                category: sorted(counts.get(category, words)) for category, words in self.words[attribute].items()
            }
        return self._in_use[attribute]

    def emotions(self, utt: str) -> set[str]:
        """Emotions that are true of an utterance; empty if none is known."""
        if utt not in self._emotions:
            self._emotions[utt] = self.ranking.known_categories(self.known(utt)).get(EMOTION, set())
        return self._emotions[utt]


@dataclass(frozen=True)
class Place:
    """What a rule works on: an utterance, a good caption of it, and the draws of this rule for it."""

    utt: str
    chosen: str
    known: Known
    corpus: Corpus
    rng: random.Random


def swap(place: Place) -> str | None:
    """The caption with another category's word; None if it names no attribute."""
    true = place.corpus.ranking.known_categories(place.known)
    for attribute in place.rng.sample(list(true), len(true)):
        if changed := _swapped(place, attribute, true[attribute]):
            return changed
    return None


def _swapped(place: Place, attribute: str, true: set[str]) -> str | None:
    categories = place.corpus.words[attribute]
    found = [(word, of[0]) for word, of in occurrences(place.chosen, categories) if len(of) == 1]
    stated = set(named(place.chosen, categories))
    right = [(word, category) for word, category in found if category in true or not true]
    wrong = [category for category in categories if category not in true | stated]
    if not right or not wrong:
        return None
    word, category = place.rng.choice(right)
    other = place.rng.choice(wrong)
    words = place.corpus.in_use(attribute)[other]
    if not words:
        return None
    nearest = {one: round(similarity(ngrams(word), ngrams(one)), 9) for one in words}
    best = max(nearest.values())  # 语速较快 becomes 语速较慢 rather than 缓慢
    put = place.rng.choice([one for one in words if nearest[one] == best])
    changed = _replaced(place.chosen, word, put)
    now = set(named(changed, categories))
    return changed if other in now and category not in now else None


def _replaced(text: str, word: str, put: str) -> str:
    """A text with another word wherever a word stands by itself; a capital letter stays one."""
    letter = "[a-z\u00e0-\u024f]"
    before = f"(?<!{letter})" if re.match(letter, word) else ""
    behind = f"(?!{letter})" if re.match(letter, word[-1]) else ""
    pattern = re.compile(before + re.escape(word) + behind, re.IGNORECASE)
    return pattern.sub(lambda found: put[:1].upper() + put[1:] if found[0][0].isupper() else put, text)


def other(place: Place) -> str | None:
    """A caption of an utterance with another emotion; where none is known, of any other utterance."""
    ids, own = place.corpus.ids, place.corpus.emotions(place.utt)
    for _ in range(TRIES):
        utt = place.rng.choice(ids)
        emotions = place.corpus.emotions(utt)
        if utt != place.utt and not (own & emotions) and bool(own) == bool(emotions):
            return place.rng.choice(place.corpus.references[utt])
    return None


def transcript(place: Place) -> str | None:
    """The spoken words; None where they are not known."""
    return place.known.transcript or None


def instruction(place: Place) -> str | None:
    """The instruction."""
    return place.known.prompt or None


def cut(place: Place) -> str | None:
    """The first quarter to three quarters of the caption, up to a place between two letters of a clause."""
    text = place.chosen
    places = [
        at
        for at in range(1 + len(text) // 4, 1 + 3 * len(text) // 4)
        if text[at - 1].isalnum() and text[at : at + 1].isalnum()
    ]
    return text[: place.rng.choice(places)] if places else None


def double(place: Place) -> str | None:
    """The caption twice, with a comma between where it has no full stop, and a blank behind Latin punctuation."""
    text = place.chosen
    wide = text[-1] >= "\u2e80"
    between = "" if not text[-1].isalnum() else "，" if wide else ","
    return text + between + ("" if wide else " ") + text


RULES: dict[str, tuple[str, Callable[[Place], str | None]]] = {
    "swap": ("factuality", swap),
    "other": ("faithfulness", other),
    "transcript": ("faithfulness", transcript),
    "instruction": ("faithfulness", instruction),
    "cut": ("faithfulness", cut),
    "double": ("faithfulness", double),
}


def check_rules(names: Sequence[str]) -> list[str]:
    """The names, each once; "all" stands for every rule.

    Raises:
        SecError: there is no such rule.
    """
    for name in names:
        if name not in RULES and name != "all":
            raise SecError(f"--rules {name}: must be some of {', '.join(RULES)}, or all")
    return list(RULES) if "all" in names else list(dict.fromkeys(names))


def rule_pairs(
    utt: str, chosen: Sequence[str], corpus: Corpus, rules: Sequence[str], most: int, seed: int
) -> list[Pair]:
    """Pairs of one utterance by rule, of different rules.

    Args:
        utt: its id.
        chosen: good captions, of which each rule draws one.
        rules: names in RULES.
        most: number of pairs; rules are tried in an order that is drawn, until there are so many.
        seed: of all draws.
    """
    known = corpus.known(utt)
    pairs: list[Pair] = []
    seen = set()
    for name in random.Random(f"{seed} rules {utt}").sample(list(rules), len(rules)) if chosen else ():
        if len(pairs) == most:
            break
        kind, make = RULES[name]
        rng = random.Random(f"{seed} {name} {utt}")
        place = Place(utt, rng.choice(chosen), known, corpus, rng)
        rejected = make(place)
        if rejected and not any(alike(rejected, one) for one in chosen) and essence(rejected) not in seen:
            seen.add(essence(rejected))
            pairs.append(Pair(utt, known.prompt, place.chosen, rejected, kind, "rule", 0.0))
    return pairs

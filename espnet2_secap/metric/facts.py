"""What a caption states of a speech recording's attributes, and what of it is wrong: counts for metrics and rankings.

A statement is wrong if truth and every reference contradict it: something is known of the attribute, and neither the
true label nor any reference names the category. Saying less is never wrong, so read errors beside the coverage.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from espnet2_secap.metric.abs_metric import ATTRIBUTES
from espnet2_secap.metric.words import Categories, named


@dataclass(frozen=True)
class Facts:
    """The categories that a caption names, by attribute.

    Args:
        named: attribute -> categories in order of appearance, for each attribute that is asked about.
        wrong: attribute -> those of them that are contradicted; only attributes that have some.
    """

    named: dict[str, list[str]]
    wrong: dict[str, list[str]]

    @property
    def errors(self) -> int:
        """Number of attributes of which a wrong category is named."""
        return len(self.wrong)

    @property
    def coverage(self) -> int:
        """Number of attributes of which any category is named."""
        return sum(map(bool, self.named.values()))

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts captions of an utterance, the best first: fewer errors, then more coverage."""
        return self.errors, -self.coverage


def asked(words: Mapping[str, Categories], attributes: Iterable[str] = ATTRIBUTES) -> list[str]:
    """Those of the attributes of which there are words."""
    return [name for name in attributes if name in words]


def known_facts(
    references: Sequence[str],
    truth: Mapping[str, Iterable[str]],
    words: Mapping[str, Categories],
    attributes: Iterable[str] = ATTRIBUTES,
) -> dict[str, set[str]]:
    """Attribute -> the categories that are true of an utterance, or that a reference names; empty if nothing is known.

    Args:
        references: the utterance's human captions, or none.
        truth: attribute -> its true categories, for the attributes whose labels are known.
        words: of `load_words`.
        attributes: those to be judged; the ones without words are left out.
    """
    return {
        name: {*truth.get(name, ()), *(one for caption in references for one in named(caption, words[name]))}
        for name in asked(words, attributes)
    }


def caption_facts(caption: str, known: Mapping[str, set[str]], words: Mapping[str, Categories]) -> Facts:
    """What a caption names, and what of it is wrong.

    Args:
        caption: in any script; an empty one names nothing.
        known: of `known_facts`; an attribute of which nothing is known is never wrong.
        words: of `load_words`.
    """
    stated = {name: named(caption, words[name]) for name in known}
    wrong = {name: [one for one in stated[name] if one not in true] for name, true in known.items() if true}
    return Facts(stated, {name: several for name, several in wrong.items() if several})

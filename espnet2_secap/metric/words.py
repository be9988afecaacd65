"""The words that name an emotion, a speech rate, a volume ... in a caption.

A words file is JSON: attribute -> category -> words. zh.json, en.json and ja.json in words/ are part of the package; a
recipe that needs others has its own conf/words.json. To extend a file, add a word to its category, a phrase that
contains a word without its meaning to the attribute's "_not" list, and a new category or attribute as a new key. A
word belongs to one category; only blends of two (惊喜, bittersweet) are listed in both.

"_groups": {"emotion": {"quadrant": {"positive_active": ["happy", ...], ...}}} joins categories to coarser ones: it adds
the attribute emotion_quadrant, whose categories have the words of all that they join. A category may be in no group.

Three rules keep the lists short:
- "{degree}" inside a word stands for each entry of "_lists": {"degree": ["", "很", ...]};
- a word directly after an entry of "_negations" does not count (没有愤怒), unless the negated phrase is itself in a
  category (不高兴 is angry);
- at each position of a caption the longest entry matches, so 不高兴 hides 高兴. Words in Latin script match whole
  words only, in any case.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from espnet2_secap.data.text_file import plain_text, read_json
from espnet2_secap.errors import SecError

WORDS_DIR = Path(__file__).parent / "words"
NO_WORDS = "none"  # the name of the empty words file
_SLOT = re.compile(r"\{(\w+)\}")


class Categories(dict):
    """category -> its words, with the tables to find them.

    Args:
        words: category -> words that name it.
        hidden: phrases that name no category although they may contain a word of one.
        negations: strings directly before a word that cancel it.
        parent: the attribute whose categories these join, or "".
        joined: category of `parent` -> the one of these that it belongs to, or None.
    """

    def __init__(
        self,
        words: dict[str, Iterable[str]],
        hidden: Iterable[str] = (),
        negations: Iterable[str] = (),
        parent: str = "",
        joined: dict[str, str | None] | None = None,
    ):
        super().__init__({category: list(items) for category, items in words.items()})
        self.parent = parent
        self.joined = joined or {}
        self.negations = tuple(unicodedata.normalize("NFKC", negation).casefold() for negation in negations)
        self.table: dict[str, list[str]] = {plain_text(phrase): [] for phrase in hidden}
        for category, items in self.items():
            for word in items:
                found = self.table.setdefault(plain_text(word), [])
                if category not in found:
                    found.append(category)
        lengths: dict[str, set[int]] = {}
        for word in self.table:
            lengths.setdefault(word[0], set()).add(len(word))
        self.lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}

    def of_label(self, label: str) -> list[str]:
        """The categories that a label means: a category, a category of the parent, or words that name some."""
        if label in self:
            return [label]
        if label in self.joined:
            return [category for category in [self.joined[label]] if category]
        return named(label, self)

    def longest(self, text: str, start: int) -> str | None:
        """The longest word or hidden phrase at `start` of a plain text (lower case, single spaces)."""
        for length in self.lengths.get(text[start], ()):
            word = text[start : start + length]
            if word in self.table and _whole(text, start, start + length):
                return word
        return None

    def occurrences(self, text: str) -> Iterator[tuple[int, str]]:
        """Start and word of each that names a category in a plain text (see `plain_text`), from left to right."""
        start = 0
        while start < len(text):
            word = self.longest(text, start)
            if word and self.table[word] and not self.negated(text, start):
                yield start, word
            start += len(word) if word else 1

    def negated(self, text: str, start: int) -> bool:
        """Whether a negation ends directly before `start`."""
        return text.endswith(self.negations, 0, start) and any(
            text.endswith(negation, 0, start) and _whole(text, start - len(negation), start)
            for negation in self.negations
        )


def occurrences(text: str, categories: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """The words of `text` that name categories, in order of appearance, each with its categories.

    Args:
        text: a caption in any script.
        categories: one attribute of `load_words`, or a dict category -> words (without negations).

    Returns:
        words as they are compared: under NFKC, in lower case.
    """
    if not isinstance(categories, Categories):
        categories = Categories(categories)
    return [(word, categories.table[word]) for _, word in categories.occurrences(plain_text(text))]


def named(text: str, categories: dict[str, list[str]]) -> list[str]:
    """The categories that `text` names, in order of appearance, each once; arguments as in `occurrences`."""
    return list(dict.fromkeys(one for _, several in occurrences(text, categories) for one in several))


def word_languages() -> list[str]:
    """The languages of which the package has words."""
    return sorted(file.stem for file in WORDS_DIR.glob("*.json"))


def load_words(path_or_language: str | Path) -> dict[str, Categories]:
    """Read a words file: attribute -> Categories, in the file's order.

    Args:
        path_or_language: a JSON file, a language of the package (zh, en, ja), or "none": no attributes.

    Raises:
        SecError: no such file or language, or the file has another format.
    """
    path = Path(path_or_language)
    languages = word_languages()
    if str(path_or_language) == NO_WORDS:
        return {}
    if str(path_or_language) in languages:
        path = WORDS_DIR / f"{path_or_language}.json"
    elif not path.is_file():
        raise SecError(f"{path}: no such words file; give a JSON file or one of: {', '.join(languages)}")
    return _read(read_json(path, f"see {WORDS_DIR / 'zh.json'} for the form", by_hand=True), path)


def without_groups(attributes: Mapping[str, Categories]) -> dict[str, Categories]:
    """Those of `load_words` but for coarser ones that join the categories of others ("_groups")."""
    return {name: one for name, one in attributes.items() if not one.parent}


def _read(content, path: Path) -> dict[str, Categories]:
    hint = "see the words files of the package for the format"
    if not isinstance(content, dict):
        raise SecError(f"{path}: must be an object attribute -> category -> words; {hint}")
    lists = content.get("_lists", {})
    negations = content.get("_negations", [])
    if not isinstance(lists, dict):
        raise SecError(f"{path}: _lists: must be an object name -> strings; {hint}")
    for what, words in [("_negations", negations), *lists.items()]:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise SecError(f"{path}: {what}: must be a list of strings; {hint}")
    attributes, hidden = {}, {}
    for attribute, categories in content.items():
        if attribute.startswith("_"):
            continue
        if not isinstance(categories, dict):
            raise SecError(f"{path}: {attribute}: must be an object category -> words; {hint}")
        words = {}
        for category, items in categories.items():
            if not isinstance(items, list) or not all(isinstance(word, str) and word.strip() for word in items):
                raise SecError(f"{path}: {attribute}: {category}: must be a list of non-empty strings; {hint}")
            words[category] = [word for item in items for word in _expand(item, lists, path)]
        hidden[attribute] = words.pop("_not", [])
        attributes[attribute] = Categories(words, hidden[attribute], negations)
    if not attributes:
        raise SecError(f"{path}: names no attribute; {hint}")
    return attributes | {
        name: _joined_categories(attributes[attribute], attribute, groups, hidden[attribute], negations)
        for name, attribute, groups in _groups(content.get("_groups", {}), attributes, path)
    }


def _groups(content, attributes: dict[str, Categories], path: Path) -> Iterator[tuple[str, str, dict[str, list[str]]]]:
    """The checked "_groups": name of the new attribute, attribute, group -> its categories."""
    form = 'must be an object such as {"emotion": {"quadrant": {"positive_active": ["happy", "excited"]}}}'
    if not isinstance(content, dict) or not all(isinstance(kinds, dict) for kinds in content.values()):
        raise SecError(f"{path}: _groups: {form}")
    for attribute, kinds in content.items():
        if attribute not in attributes:
            known = ", ".join(attributes)
            raise SecError(f"{path}: _groups: the file has no attribute {attribute!r}; choose from: {known}")
        for kind, groups in kinds.items():
            where = f"{path}: _groups: {attribute}: {kind}"
            if not isinstance(groups, dict) or not groups:
                raise SecError(f"{where}: {form}")
            if f"{attribute}_{kind}" in attributes:
                raise SecError(f"{where}: the file has an attribute {attribute}_{kind} already; rename one of them")
            seen: dict[str, str] = {}
            for group, categories in groups.items():
                if not isinstance(categories, list) or not categories:
                    raise SecError(f"{where}: {group}: must be a list of categories of {attribute}")
                for category in categories:
                    if not isinstance(category, str) or category not in attributes[attribute]:
                        known = ", ".join(attributes[attribute])
                        raise SecError(
                            f"{where}: {group}: {category!r} is not a category of {attribute}; choose from: {known}"
                        )
                    if category in seen:
                        twice = group if seen[category] == group else f"{seen[category]} and {group}"
                        raise SecError(f"{where}: {category!r} is listed twice ({twice}); keep one")
                    seen[category] = group
            yield f"{attribute}_{kind}", attribute, groups


def _joined_categories(
    fine: Categories, attribute: str, groups: dict[str, list[str]], hidden: list[str], negations: list[str]
) -> Categories:
    """One category per group, with the words of all its categories."""
    joined = dict.fromkeys(fine) | {category: group for group, found in groups.items() for category in found}
    words = {group: list(dict.fromkeys(w for one in found for w in fine[one])) for group, found in groups.items()}
    # A word of no group still hides the words within it (the angry 不高兴 is not 高兴)
    others = [word for category, group in joined.items() if group is None for word in fine[category]]
    return Categories(words, [*hidden, *others], negations, attribute, joined)


def _expand(word: str, lists: dict[str, list[str]], path: Path) -> list[str]:
    slots = _SLOT.findall(word)
    for slot in slots:
        if slot not in lists:
            raise SecError(f"{path}: {word}: no list {slot!r} under _lists; add it or take out the braces")
    texts = _SLOT.split(word)[::2]  # between the slots
    words = [_joined(texts, choice) for choice in itertools.product(*(lists[slot] for slot in slots))]
    if not all(map(str.strip, words)):
        raise SecError(f"{path}: {word}: with an empty entry of _lists nothing is left of it; add letters to it")
    return words


def _joined(texts: list[str], choice: tuple[str, ...]) -> str:
    return texts[0] + "".join(filler + text for filler, text in zip(choice, texts[1:], strict=True))


def _whole(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] does not split a word in Latin script."""
    return not (_latin(text, start - 1) and _latin(text, start)) and not (_latin(text, end - 1) and _latin(text, end))


def _latin(text: str, at: int) -> bool:
    return 0 <= at < len(text) and text[at].isalpha() and text[at] < "\u2e80"

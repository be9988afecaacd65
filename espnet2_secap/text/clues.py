"""Emotional clues: the words of a caption that say how somebody speaks, as a prompt of the decoder (AlignCap).

What a clue is stands in a grammar, one JSON file per language (clues_zh.json, ...), which a file of one's own extends:

    {"extends": "zh", "also": ["鼻音"], "never": ["普通"]}

Words of a category (emotion, rate, ..., of a words file) are clues; so are, beside them, words whose part of speech is
in `tags`. The choice of tags and the English prompt are those of SRGCap; AlignCap's abstract gives neither.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple, Protocol

from espnet2_secap.data.io import list_value, read_parsed, write_kaldi
from espnet2_secap.data.text_file import plain_text, read_json
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.text.taggers import TAGGERS

FOLDER = Path(__file__).parent
SLOT = "{clues}"
BETWEEN = re.compile(r"[,;，；、]")  # of clues that a person writes in one argument


class Clue(NamedTuple):
    """A clue, in lower case, and the categories that it names: (("emotion", "angry"),); none of a part of speech."""

    text: str
    kinds: tuple[tuple[str, str], ...] = ()


class WordTable(Protocol):
    """What is needed of the words of an attribute: `Categories` of metric/words.py."""

    table: Mapping[str, list[str]]  # word -> its categories

    def occurrences(self, text: str) -> Iterator[tuple[int, str]]:
        """Start and word of each that names a category in a plain text."""

    def negated(self, text: str, start: int) -> bool:
        """Whether a negation ends directly before `start`."""


@dataclass(frozen=True)
class Grammar:
    """What a clue is in a language, and how clues are put to the decoder.

    Args:
        name: the file, or the language.
        words: language of the package whose words file names the categories.
        attributes: attribute -> category -> words, of attributes that the words file lacks.
        names: attribute -> category -> the clue that stands for it; the first word of the category if none.
        tagger: of parts of speech, one of text/taggers.py; None: categories alone.
        tags: parts of speech, as the tagger names them, of further clues.
        also: clues whatever their part of speech.
        never: words that are no clues by their part of speech.
        prompt: with {clues}.
        separator: between clues.
    """

    name: str
    words: str
    attributes: dict[str, dict[str, list[str]]]
    names: dict[str, dict[str, str]]
    tagger: str | None
    tags: tuple[str, ...]
    also: tuple[str, ...]
    never: tuple[str, ...]
    prompt: str
    separator: str

    def prompt_of(self, clues: Sequence[str]) -> str:
        """The clues as the decoder reads them; "" without any."""
        return self.prompt.replace(SLOT, self.separator.join(clues)) if clues else ""


class Clues:
    """Finds the clues of captions, and those that stand for categories.

    >>> clues = clues_by("zh")  # of tasks/clues.py
    >>> clues("语速较快，情绪中带着愤怒")
    [Clue("语速较快", (("rate", "fast"),)), Clue("愤怒", (("emotion", "angry"),))]

    Args:
        grammar: see `read_grammar`.
        attributes: attribute -> its words (`Categories`), those of the grammar among them.
        usual: attribute -> category -> the word for it that a model has learned to read, see `usual_words`.

    Raises:
        SecError: a name of the grammar is none of the attributes'.
    """

    def __init__(
        self,
        grammar: Grammar,
        attributes: Mapping[str, WordTable],
        usual: Mapping[str, Mapping[str, str]] | None = None,
    ):
        self.grammar, self.attributes, self.usual = grammar, dict(attributes), dict(usual or {})
        self._tag = TAGGERS[grammar.tagger] if grammar.tagger else None
        self._tags, self._never = frozenset(grammar.tags), frozenset(map(plain_text, grammar.never))
        self._also = {plain_text(word): [] for word in grammar.also}
        self._found: dict[str, list[Clue]] = {}
        for attribute, names in grammar.names.items():
            for category in names:
                if attribute in self.attributes and category not in self.attributes[attribute]:
                    known = ", ".join(self.attributes[attribute])
                    raise SecError(
                        f"clue grammar {grammar.name}: names: {attribute} has no category {category!r}; it has {known}"
                    )

    def __call__(self, caption: str) -> list[Clue]:
        """The clues of a caption in order of appearance, each once.

        Of words that overlap the longest counts; what a negation stands before does not (没有愤怒).
        """
        if caption not in self._found:
            self._found[caption] = self._clues(plain_text(caption))
        return self._found[caption]

    def texts(self, caption: str) -> list[str]:
        """The same as text."""
        return [clue.text for clue in self(caption)]

    def of_category(self, attribute: str, category: str) -> Clue:
        """The clue that stands for a category: its usual word, that of the grammar's `names`, or its first word."""
        named = self.usual.get(attribute, {}).get(category) or self.grammar.names.get(attribute, {}).get(category)
        words = self.attributes[attribute][category]
        return Clue(plain_text(named or words[0]), ((attribute, category),))

    def of_labels(self, labels: Mapping[str, str]) -> list[Clue]:
        """Clues for labels, attribute -> label, such as {"emotion": "angry"}; what names no category gives none."""
        kinds = [(name, one) for name, label in labels.items() for one in self.attributes[name].of_label(label)]
        return list({clue.text: clue for clue in (self.of_category(*kind) for kind in kinds)}.values())

    def usual_words(self, captions: Iterable[str]) -> dict[str, dict[str, str]]:
        """Attribute -> category -> the clue that captions say most often for it and for nothing else."""
        counts: dict[str, dict[str, Counter]] = {}
        for caption in captions:
            text = plain_text(caption)
            said = {text[start:end].strip(): kinds for (start, end), kinds in self._categories(text).items()}
            for word, kinds in said.items():
                if len(set(kinds)) == 1:
                    attribute, category = kinds[0]
                    counts.setdefault(attribute, {}).setdefault(category, Counter())[word] += 1
        return {
            attribute: {
                category: min(words, key=lambda word: (-words[word], word)) for category, words in found.items()
            }
            for attribute, found in counts.items()
        }

    def prompt(self, caption: str) -> str:
        """The clues of a caption as the decoder reads them."""
        return self.grammar.prompt_of(self.texts(caption))

    def _categories(self, text: str) -> dict[tuple[int, int], list]:
        """Spans of words that name categories, and which: (attribute, category). No tagger, which takes long."""
        spans: dict[tuple[int, int], list[tuple[str, str]]] = {}
        for attribute, words in self.attributes.items():
            for start, word in words.occurrences(text):
                kinds = spans.setdefault((start, start + len(word)), [])
                kinds += [(attribute, category) for category in words.table[word]]
        return _apart(spans)

    def _clues(self, text: str) -> list[Clue]:
        chosen: dict[tuple[int, int], list | str] = dict(self._categories(text))
        taken = {at for span in chosen for at in range(*span)}
        if self._tag is not None or self._also:
            for start, end, word in self._further(text):
                if taken.isdisjoint(range(start, end)):
                    chosen[start, end] = word
                    taken.update(range(start, end))
        found: dict[str, dict] = {}
        for (start, end), kinds in sorted(chosen.items()):
            word, kinds = (kinds, []) if isinstance(kinds, str) else (text[start:end], kinds)
            found.setdefault(word.strip(), {}).update(dict.fromkeys(kinds))
        return [Clue(word, tuple(kinds)) for word, kinds in found.items()]

    def _further(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and clue of words by their part of speech, or that the grammar lists."""
        for word in self._also:
            for match in re.finditer(_whole(word), text):
                if not self._negated(text, match.start()):
                    yield *match.span(), word
        for start, word, lemma, tag in self._tag(text) if self._tag else ():
            never = word in self._never or lemma in self._never
            if tag in self._tags and not never and not self._negated(text, start):
                yield start, start + len(word), lemma

    def _negated(self, text: str, start: int) -> bool:
        return any(words.negated(text, start) for words in self.attributes.values())


def _apart(spans: Mapping[tuple[int, int], list]) -> dict[tuple[int, int], list | str]:
    """Spans that do not overlap: the longest first, of equals the first."""
    chosen, taken = {}, set()
    for start, end in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if taken.isdisjoint(range(start, end)):
            chosen[start, end] = spans[start, end]
            taken.update(range(start, end))
    return chosen


def _whole(word: str) -> str:
    """A pattern for a word that does not split another one in Latin script."""
    return rf"(?<![a-z]){re.escape(word)}(?![a-z])" if word.isascii() else re.escape(word)


def clue_languages() -> list[str]:
    """The languages of which the package has a grammar."""
    return sorted(path.stem.removeprefix("clues_") for path in FOLDER.glob("clues_*.json"))


def read_grammar(path_or_language: str | Path) -> Grammar:
    """A grammar: a JSON file, or a language of the package (en, ja, zh).

    With `extends` a file needs nothing else: its lists are added to those of that language, what it says of a category
    or of `words`, `tagger`, `prompt` and `separator` takes the place of what is there.

    Raises:
        SecError: no such file or language, an unknown or missing key, a value of another type, no such tagger, a prompt
            without {clues}.
    """
    known, path = clue_languages(), Path(path_or_language)
    if str(path_or_language) in known:
        path = FOLDER / f"clues_{path_or_language}.json"
    elif not path.is_file():
        raise SecError(f"clue grammar {path_or_language}: no such file or language; give a JSON file or one of: "
                       f"{', '.join(known)}")  # fmt: skip
    content = _content(path)
    base = content.pop("extends", None)
    if base is not None:
        if base not in known:
            raise SecError(f"{path}: extends: {shorten(repr(base))}: no such language; choose from: {', '.join(known)}")
        content = _extended(_content(FOLDER / f"clues_{base}.json"), content)
    missing = [key for key in _TYPES if key not in content]
    if missing:
        raise SecError(f'{path}: {missing[0]!r} is missing; add it, or extend a language: {{"extends": "zh", ...}}')
    if content["tagger"] is not None and content["tagger"] not in TAGGERS:
        raise SecError(f"{path}: tagger: {content['tagger']!r}: must be null or one of {', '.join(TAGGERS)}")
    if content["prompt"].count(SLOT) != 1:
        raise SecError(f"{path}: prompt: {shorten(content['prompt'])!r}: must hold {SLOT} once")
    lists = {key: tuple(dict.fromkeys(content[key])) for key in ("tags", "also", "never")}
    return Grammar(**content | lists | {"name": str(path_or_language)})


_LISTS = "a list of non-empty strings"
_TYPES = {
    field.name: {
        "attributes": "an object attribute -> category -> list of words",
        "names": "an object attribute -> category -> text",
        "tagger": "text or null",
    }.get(field.name, _LISTS if field.name in ("tags", "also", "never") else "text")
    for field in fields(Grammar)
    if field.name != "name"
}


def _content(path: Path) -> dict:
    content = read_json(path, f"see {FOLDER / 'clues_zh.json'} for the form", by_hand=True)
    if not isinstance(content, dict):
        raise SecError(f"{path}: must be an object with the keys {', '.join(_TYPES)}")
    unknown = [key for key in content if key not in (*_TYPES, "extends")]
    if unknown:
        raise SecError(f"{path}: unknown key {shorten(unknown[0])!r}; known: extends, {', '.join(_TYPES)}")
    for key, value in content.items():
        if key != "extends" and not _fits(key, value):
            raise SecError(f"{path}: {key}: {shorten(repr(value))}: must be {_TYPES[key]}")
    return content


def _fits(key: str, value: object) -> bool:
    if key in ("attributes", "names"):
        good = _words if key == "attributes" else _text
        return isinstance(value, dict) and all(
            isinstance(one, dict) and all(map(good, one.values())) for one in value.values()
        )
    if _TYPES[key] == _LISTS:
        return _words(value)
    return (value is None and key == "tagger") or (isinstance(value, str) and (key == "separator" or _text(value)))


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _words(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _extended(base: dict, more: Mapping) -> dict:
    output = dict(base)
    for key, value in more.items():
        if isinstance(value, list):
            output[key] = [*base[key], *value]
        elif isinstance(value, dict):
            output[key] = base[key] | {name: base[key].get(name, {}) | one for name, one in value.items()}
        else:
            output[key] = value
    return output


def typed_clues(text: str) -> list[str]:
    """Clues that a person writes in one argument, separated by commas or semicolons: "愤怒，语速快"."""
    parts = (plain_text(part) for part in BETWEEN.split(text))
    return list(dict.fromkeys(part for part in parts if part))


def parse_clues(value: str) -> list[str]:
    """The clues in a line's value, a JSON list of texts, which may be empty.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('is not JSON; write id ["clue", ...]') from None
    if not _words(parsed):
        raise ValueError('is not a list of clues; write id ["clue", ...], or id [] where there are none')
    return list(dict.fromkeys(map(plain_text, parsed)))


def read_clues(path: str | Path) -> dict[str, list[str]]:
    """Read a clues file: id -> its clues.

    Raises:
        SecError: as `read_kaldi`, and where a line is not a JSON list of texts.
    """
    return read_parsed(path, parse_clues)


def write_clues(path: str | Path, clues: Mapping[str, Sequence[str]]) -> None:
    """Write a clues file (`id ["clue", ...]`), sorted by id, at once or not at all."""
    write_kaldi(path, {utt: list_value(own) for utt, own in clues.items()})

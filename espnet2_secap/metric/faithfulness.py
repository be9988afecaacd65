"""Faults of a caption that need no ear: it is empty or over-long, repeats itself, the transcription or the instruction,
is not in the language of the human captions, or names nothing of what captions are about.

AlignCap's abstract names faithfulness hallucinations without a formula; these checks are ours (docs/aligncap.md).
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import cache

from espnet2_secap.metric.normalize import says_something
from espnet2_secap.metric.segment import segment_char_word

# In the order in which they are told; "attributes" (names none of them) is found by metric/facts.py.
KINDS = ("empty", "length", "repetition", "language", "transcription", "instruction", "attributes")
LONG = 1.5  # times the length that 99% of the human captions do not exceed
RUN = 5  # tokens that a caption shares with a text, at least, to repeat it
MUCH = 8  # tokens that are a repetition even if they are less than half of that text
RARE = 0.01  # share of the letters up to which a script does not belong to the language
FEW_LETTERS = 6  # a caption of fewer letters may lack a script of the language, such as kana
VOCABULARY = 100  # distinct tokens of human captions from which on unknown ones tell something
UNKNOWN = 0.75  # share of unknown tokens from which on a caption is not in the language
CLAUSE = 3  # tokens of a clause that may not occur twice
_IN_A_ROW = re.compile(rf"((?: \S+){{{CLAUSE + 1},}}?)\1")
SPLITTERS = frozenset("，。；！？、,.;!?\n…")


class HumanCaptions:
    """What the captions of people look like: length, scripts and vocabulary; of equal captions one counts.

    Args:
        captions: references and training captions.
        words: further words of the language, such as those of the words file.
    """

    def __init__(self, captions: Iterable[str], words: Iterable[str] = ()):
        self._tokens = {caption: tokens(caption) for caption in dict.fromkeys(captions)}
        lengths = sorted(letters for caption in self._tokens if (letters := len(_letters(caption))))
        self.longest = LONG * lengths[math.ceil(0.99 * len(lengths)) - 1] if lengths else math.inf
        counts = [Counter(map(script, filter(str.isalpha, _letters(caption)))) for caption in self._tokens]
        total = sum(counts, Counter())
        self.scripts = {name for name, n in total.items() if n > RARE * total.total()}
        full = [count for count in counts if count.total() >= FEW_LETTERS]
        self.required = {name for name in total if sum(name in c for c in full) >= (1 - RARE) * len(full) > 0}
        self.vocabulary = {token for several in self._tokens.values() for token in several}
        self._enough = len(self.vocabulary) >= VOCABULARY
        self.vocabulary |= {token for word in words for token in tokens(word)}
        self._joined = [_joined(several) for several in self._tokens.values()]

    def too_long(self, caption: str) -> bool:
        """Whether it has more letters and digits than LONG times those of 99% of the human captions."""
        return len(_letters(caption)) > self.longest

    def foreign(self, caption: str) -> str:
        """A caption that is not in the language of the human captions, or its unknown words; "" if it is in it.

        Languages of one script are told apart by their words only, so only where the human captions have many.
        """
        letters = [char for char in _letters(caption) if char.isalpha()]
        other = [letter for letter in letters if script(letter) not in self.scripts]
        if self.scripts and 2 * len(other) > len(letters):
            return caption
        if len(letters) >= FEW_LETTERS and any(name not in set(map(script, letters)) for name in self.required):
            return caption
        own = tokens(caption)
        unknown = [token for token in own if token not in self.vocabulary]
        if self._enough and len(own) > 2 and len(unknown) > UNKNOWN * len(own):
            return " ".join(unknown)
        return ""

    def repeated(self, caption: str, text: str) -> str:
        """What a caption repeats of a text (transcription, instruction) that no human caption has; "" if nothing.

        It repeats the text if it is the same, or shares RUN tokens in a row with it that are half of the text, or MUCH.
        """
        own, other = tokens(caption), tokens(text)
        match = SequenceMatcher(None, own, other, autojunk=False).find_longest_match()
        run = own[match.a : match.a + match.size]
        whole = own == other and bool(own)
        if not whole and (len(run) < RUN or (2 * len(run) < len(other) and len(run) < MUCH)):
            return ""
        joined = _joined(run)
        return "" if any(joined in human for human in self._joined) else _readable(run)


def faults(
    caption: str, human: HumanCaptions, transcription: str | None = None, instructions: Iterable[str] = ()
) -> dict[str, str]:
    """The kinds of faults of a caption, with the words that show them; of KINDS all but "attributes".

    Args:
        caption: of a system.
        human: what captions of people look like.
        transcription: the spoken words, or None if they are not known.
        instructions: to the language model.
    """
    if not says_something(caption):
        return {"empty": ""}
    found = {
        "length": caption if human.too_long(caption) else "",
        "repetition": _twice(caption),
        "language": human.foreign(caption),
        "transcription": human.repeated(caption, transcription) if transcription else "",
        "instruction": max((human.repeated(caption, one) for one in instructions), key=len, default=""),
    }
    return {kind: word for kind, word in found.items() if word}


def tokens(text: str) -> list[str]:
    """CJK characters one by one and other scripts by word, without punctuation, under NFKC in lower case."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return [token for token in segment_char_word(plain).split() if token[0].isalnum()]


@cache
def script(letter: str) -> str:
    """The script of a letter by its Unicode name: CJK, KANA, LATIN, CYRILLIC, ..."""
    first = unicodedata.name(letter, "").split(" ")[0].split("-")[0]
    return {"HIRAGANA": "KANA", "KATAKANA": "KANA", "IDEOGRAPHIC": "CJK"}.get(first, first)


def _letters(text: str) -> list[str]:
    return [char for char in unicodedata.normalize("NFKC", text) if char.isalnum()]


def _twice(caption: str) -> str:
    """What a caption says twice: a clause of CLAUSE tokens or more, or a longer run of tokens in a row; or ""."""
    plain = "".join("\n" if char in SPLITTERS else char for char in caption)
    clauses = Counter(_joined(tokens(clause)) for clause in plain.split("\n"))
    for one, n in clauses.items():
        if n > 1 and len(one.split()) >= CLAUSE:
            return _readable(one.split())
    row = _IN_A_ROW.search(_joined(tokens(caption)).rstrip())
    return _readable(row[1].split()) if row else ""


def _joined(several: list[str]) -> str:
    return f" {' '.join(several)} "


def _readable(several: list[str]) -> str:
    """Tokens as text: no blanks between CJK characters."""
    text = " ".join(several)
    return "".join(text.split()) if all(len(token) == 1 for token in several) else text

"""Whether a text is in the script of a language, as far as Unicode's names of letters tell it.

Languages that share a script (English and French, a Japanese sentence of Chinese characters alone and a Chinese one)
are not told apart.
"""

import unicodedata
from functools import cache

LATIN = frozenset({"LATIN"})
# ISO 639 code -> the first words of the Unicode names of its letters; the codes below LATIN_CODES have Latin letters.
SCRIPTS = {
    **dict.fromkeys(("zh", "yue"), frozenset({"CJK", "BOPOMOFO"})),
    "ja": frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    "ko": frozenset({"HANGUL", "CJK"}),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mn"), frozenset({"CYRILLIC"})),
    **dict.fromkeys(("ar", "fa", "ur"), frozenset({"ARABIC"})),
    **dict.fromkeys(("hi", "mr", "ne"), frozenset({"DEVANAGARI"})),
    "el": frozenset({"GREEK"}),
    "he": frozenset({"HEBREW"}),
    "th": frozenset({"THAI"}),
    "ta": frozenset({"TAMIL"}),
    "bn": frozenset({"BENGALI"}),
}
LATIN_CODES = "en fr de es it pt nl sv da no fi pl cs sk hu ro tr vi id ms sw".split()
SCRIPTS |= dict.fromkeys(LATIN_CODES, LATIN)
LEAST = 0.5  # of the letters; the others may be names or quotations


@cache
def _script(char: str) -> str:
    """The first word of a letter's name, as LATIN; full-width letters are Latin ones."""
    name = unicodedata.name(unicodedata.normalize("NFKC", char)[0], "")
    return name.split(" ")[0]


def in_script(text: str, lang: str) -> bool:
    """Whether at least half of the letters of a text are of the script of a language.

    Args:
        lang: code of ISO 639. A language of which the script is not known here takes any text.
    """
    script = SCRIPTS.get(lang)
    letters = [char for char in text if char.isalpha()]
    if script is None or not letters:
        return True
    return sum(_script(char) in script for char in letters) >= LEAST * len(letters)

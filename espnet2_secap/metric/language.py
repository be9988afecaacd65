"""What the language of the captions decides: the words for recall, the segmentation, the metrics and the instructions.

Each of them can still be chosen by its own option. Any language works: what this package has no lists for is left
out, and `Language.notes` says so and how to add it.
"""

import re
from dataclasses import dataclass

from espnet2_secap.errors import SecError, shorten
from espnet2_secap.metric.registry import DEFAULT, attribute_of
from espnet2_secap.metric.words import NO_WORDS, word_languages
from espnet2_secap.text.prompts import prompt_languages

NAMES = {"zh": "Chinese", "en": "English", "ja": "Japanese"}
# How published results of the language are cut. Every other language: CJK by character, other scripts by word.
SEGMENT = {"zh": "char", "yue": "char", "ja": "char", "en": "ptb"}
SEGMENT |= dict.fromkeys(("th", "lo", "km", "my", "bo"), "char")  # written without spaces between words
# Other codes that people give to these languages: they would be languages of which nothing is known.
OTHER = {"cn": "zh", "chi": "zh", "zho": "zh", "cmn": "zh", "eng": "en", "jp": "ja", "jpn": "ja"}
# METEOR's stems, synonyms and paraphrases, and SPICE's parser, are English. Chinese keeps METEOR: SECap reports it.
ENGLISH_METRICS = ("meteor", "spice", "spider")
KEEP_METEOR = ("en", "zh")
FALLBACK = "en"  # instructions, where the package has none: a language model that knows the language knows English


@dataclass(frozen=True)
class Language:
    """What follows from a language's code.

    Args:
        code: such as zh.
        words: for load_words.
        segment: a name of metric/segment.py.
        prompts: for read_prompts.
    """

    code: str
    words: str
    segment: str
    prompts: str

    def metrics(self, recall: bool) -> list[str]:
        """What is computed by default, with or without what the words files give (recall, accuracy)."""
        names = [name for name in DEFAULT if recall or attribute_of(name) is None]
        return [name for name in names if self.code in KEEP_METEOR or name not in ENGLISH_METRICS]

    def notes(self, words: bool = True, prompts: bool = True) -> list[str]:
        """What is left out, and how to add it.

        Args:
            words, prompts: whether those of the language are used, and no others that the user gave.
        """
        found = []
        if words and self.words == NO_WORDS:
            found.append(
                f"--lang {self.code}: there are no words of this language, so the rows of recall are left out; "
                "to add them give --words FILE (or conf/words.json), in the form of metric/words/en.json"
            )
        if prompts and self.prompts != self.code:
            found.append(
                f"--lang {self.code}: there are no instructions in this language, so those in {self.prompts} are "
                "taken; to change that give --prompts FILE, one instruction per line"
            )
        if self.code not in KEEP_METEOR:
            found.append(
                f"--lang {self.code}: METEOR and SPICE know English stems and synonyms, so they are left out; "
                '--score_args "--metrics ..." adds them'
            )
        return found


def language(code: str) -> Language:
    """What follows from a language's code.

    Raises:
        SecError: it is not a code of ISO 639, such as zh, en, ja, fr, or not the one that is used here.
    """
    if not re.fullmatch(r"[a-z]{2,3}", code) or code in OTHER:
        alike = [known for known, name in NAMES.items() if code.lower()[:2] in (known, name.lower()[:2])]
        alike = [OTHER[code]] if code in OTHER else alike
        hint = f" (did you mean {alike[0]}?)" if alike else ""
        raise SecError(
            f"--lang {shorten(code)!r}: must be a code of two or three small letters, such as zh, en, ja or fr{hint}"
        )
    return Language(
        code,
        words=code if code in word_languages() else NO_WORDS,
        segment=SEGMENT.get(code, "char_word"),
        prompts=code if code in prompt_languages() else FALLBACK,
    )

"""The Unicode form in which captions are scored, references and hypotheses alike, and which captions say nothing."""

import unicodedata
from collections.abc import Callable, Iterable
from functools import partial

FORMS = ("nfc", "nfkc", "none")
SHARE = 0.01  # of the captions: from here on a note says that another form would change the scores


def normalizer(form: str) -> Callable[[str], str]:
    """A function caption -> its text in the form of `--normalize`.

    nfc: é written as one or as two code points is the same; nfkc: also full-width ， Ａ and half-width , A; none: as
    it stands.
    """
    if form == "none":
        return str
    return partial(unicodedata.normalize, form.upper())


def says_something(caption: str) -> bool:
    """Whether a caption has a letter, a digit or a pictograph; one of blanks and punctuation alone says nothing."""
    for char in caption:  # no generator: most captions end at their first character
        if char.isalnum() or unicodedata.category(char) == "So":
            return True
    return False


def spoken(caption: str, normalize: Callable[[str], str]) -> str:
    """A system's caption as it is scored: normalised, and empty if it says nothing."""
    return normalize(caption) if says_something(caption) else ""


def compared(references: list[str], normalize: Callable[[str], str]) -> list[str]:
    """An utterance's references as they are scored: normalised, without those that say nothing if others do.

    BLEU would take the length of an empty one for the closest, and lift the penalty for brevity.
    """
    return [normalize(text) for text in references if says_something(text)] or list(map(normalize, references))


def mixed_forms(captions: Iterable[str]) -> tuple[int, int]:
    """How many captions have a character that others write in another width or form (， and ,), and of how many.

    Such captions differ for every metric, and would not under NFKC. Of two forms the rarer one is counted. Blanks do
    not count: every segmentation removes them.
    """
    captions = list(dict.fromkeys(captions))
    changed: dict[str, set[str]] = {}  # under NFKC and in lower case -> characters that become it
    for char in characters("".join(captions)):
        plain = unicodedata.normalize("NFKC", char)
        if plain != unicodedata.normalize("NFC", char) and plain.strip():
            changed.setdefault(plain.casefold(), set()).add(char)
    found: set[str] = set()
    folded = {caption: caption.casefold() for caption in captions} if changed else {}
    for plain, chars in changed.items():
        of_form = [{caption for caption in captions if char in caption} for char in chars]
        of_form.append({caption for caption, lower in folded.items() if plain in lower})
        most = max(of_form, key=len)
        found.update(*(form for form in of_form if form is not most))
    return len(found), len(captions)


def characters(text: str) -> list[str]:
    """Each character of a text once, in order of code points; of a long one faster than a set."""
    import numpy as np  # 0.1 s, which a program's --help need not take

    there = np.zeros(0x110000, bool)
    there[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")] = True
    return list(map(chr, np.flatnonzero(there)))

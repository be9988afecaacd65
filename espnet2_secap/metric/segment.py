"""Cutting captions into the tokens that n-gram metrics count: tokens with one blank between them."""

from collections.abc import Callable


def segment_char(caption: str) -> str:
    """Every character is a token: Chinese, punctuation and letters alike; white space only separates.

    The published scores of SECap come out this way, letters of stray Latin words one by one included.
    """
    return " ".join("".join(caption.split()))


def segment_word(caption: str) -> str:
    """Tokens as the white space has them, in lower case: for languages that write blanks, or segmented text."""
    return " ".join(caption.lower().split())


SEGMENTERS: dict[str, Callable[[str], str]] = {"char": segment_char, "word": segment_word}

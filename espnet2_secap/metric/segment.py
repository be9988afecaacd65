"""Cutting captions into the tokens that n-gram metrics count: tokens with one blank between them.

Which cutting was used is part of every score: the same captions get other values by another one.
"""

import logging
import re
from collections.abc import Callable, Iterable

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.ptb import ptb_tokens

# Ideographs and their marks, kana, hangul: what is written without blanks, or has syllables for characters.
_CJK = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_CJK += "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+(?:['’](?:(?![{_CJK}])\w)+)*|[^\w\s]")


def segment_char(caption: str) -> str:
    """Every character is a token: Chinese, punctuation and letters alike; white space only separates.

    The published scores of SECap come out this way, letters of stray Latin words one by one included.
    """
    return " ".join("".join(caption.split()))


def segment_char_word(caption: str) -> str:
    """CJK characters and punctuation one by one, other scripts by word, in lower case."""
    return " ".join(_TOKEN.findall(caption.lower()))


def segment_word(caption: str) -> str:
    """Tokens as the white space has them, in lower case: for languages that write blanks, or segmented text."""
    return " ".join(caption.lower().split())


def segment_jieba(caption: str) -> str:
    """Chinese words by jieba's default dictionary; punctuation is a token."""
    try:
        import jieba
    except ImportError:
        raise MetricUnavailable("needs the package jieba") from None
    jieba.setLogLevel(logging.WARNING)
    return " ".join(" ".join(jieba.cut(caption)).split())


SEGMENTERS: dict[str, Callable[[str], str] | None] = {
    "char": segment_char,
    "char_word": segment_char_word,
    "word": segment_word,
    "jieba": segment_jieba,
    "ptb": None,  # a Java program, which takes all captions at once
}


def segmenter(name: str, captions: Iterable[str]) -> Callable[[str], str]:
    """A function that gives the tokens of each of these captions, each of them cut once.

    Raises:
        MetricUnavailable: ptb or jieba cannot run.
    """
    different = list(dict.fromkeys(captions))
    segment = SEGMENTERS[name]
    cut = ptb_tokens(different) if segment is None else map(segment, different)
    return dict(zip(different, cut, strict=True)).__getitem__

"""Segmentation of captions into the tokens that n-gram metrics count, separated by single spaces.

The segmentation is part of every score: another one gives the same captions other values.
"""

import logging
import re
from collections.abc import Callable, Iterable

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.ptb import ptb_tokens

# Ideographs and their marks, kana, hangul: scripts that are written without spaces or in syllables.
_CJK = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_CJK += "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+(?:['’](?:(?![{_CJK}])\w)+)*|[^\w\s]")


def segment_char(caption: str) -> str:
    """Every character is a token: Chinese, punctuation and letters alike; white space is removed.

    The published scores of SECap use this segmentation, which splits Latin words into letters, too.
    """
    return " ".join("".join(caption.split()))


def segment_char_word(caption: str) -> str:
    """CJK characters and punctuation one by one, other scripts by word, in lower case."""
    return " ".join(_TOKEN.findall(caption.lower()))


def segment_word(caption: str) -> str:
    """Tokens separated by white space, in lower case: for languages with spaces, or segmented text."""
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
    "ptb": None,  # a Java program that tokenizes all captions at once
}


def segmenter(name: str, captions: Iterable[str]) -> Callable[[str], str]:
    """A function that returns the tokens of each of these captions; each is segmented once.

    Raises:
        MetricUnavailable: ptb or jieba cannot run here.
    """
    different = list(dict.fromkeys(captions))
    segment = SEGMENTERS[name]
    cut = ptb_tokens(different) if segment is None else map(segment, different)
    return dict(zip(different, cut, strict=True)).__getitem__

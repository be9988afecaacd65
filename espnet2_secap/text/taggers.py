"""Taggers of parts of speech, each of a package that ships its model: nothing is downloaded."""

import logging
import re
from collections.abc import Callable, Iterator
from functools import cache

from espnet2_secap.errors import SecError

Tagged = Iterator[tuple[int, str, str, str]]  # start, word, lemma, tag of each word of a plain text
_WORD = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")


def tag_chinese(text: str) -> Tagged:
    """By jieba's dictionary and hidden Markov model; tags as in ICTCLAS: a adjective, d adverb, i idiom, n noun, ..."""
    start = 0
    for pair in _jieba()(text, HMM=True):
        yield start, pair.word, pair.word, pair.flag
        start += len(pair.word)


def tag_english(text: str) -> Tagged:
    """By HanTa (Wartena, "A probabilistic morphology model for German lemmatization", KONVENS 2019) in its English
    model; tags as in the BNC (C5): AJ0 adjective, AJC comparative, AV0 adverb, NN1 noun, ..."""
    words = list(_WORD.finditer(text))
    tagged = _hanta()([match[0] for match in words]) if words else ()
    for match, (word, lemma, tag) in zip(words, tagged, strict=True):
        yield match.start(), word, lemma.lower(), tag


TAGGERS: dict[str, Callable[[str], Tagged]] = {"jieba": tag_chinese, "hanta": tag_english}


@cache
def _jieba() -> Callable:
    try:
        import jieba.posseg
    except ImportError:
        raise _missing("jieba") from None
    jieba.setLogLevel(logging.WARNING)
    return jieba.posseg.cut


@cache
def _hanta() -> Callable:
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError:
        raise _missing("hanta") from None
    return HanoverTagger("morphmodel_en.pgz").tag_sent


def _missing(package: str) -> SecError:
    return SecError(
        f"clue grammar: its tagger needs the package {package}: pip install {package}, or give a grammar with"
        ' {"extends": ..., "tagger": null}'
    )

"""Characters in captions and transcriptions that a model would learn and nobody meant: told, not refused."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from espnet2_secap.data.io import parse_captions, scan_lines
from espnet2_secap.errors import few, shorten

_KINDS: list[tuple[str, Callable[[str], object]]] = [
    # not U+200C and U+200D, which Persian, Indic scripts and emoji need
    (
        "invisible characters (zero-width blanks, direction marks, byte order marks, soft hyphens); remove them",
        re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]").search,
    ),
    ("control characters or line ends; remove them", re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]").search),
    (
        "HTML entities or tags (such as &amp; or <br>); write the characters that they mean",
        re.compile(
            r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});|</?(?:br|p|i|b|em|span|div)\b[^<>]*>"
        ).search,
    ),
    ("U+FFFD, which stands for bytes that could not be decoded; get the text again", re.compile("\ufffd").search),
    (
        "characters in another Unicode form than NFC (é as two code points); tokenizers cut them otherwise: bring the "
        "text to NFC",
        lambda text: not unicodedata.is_normalized("NFC", text),
    ),
]


def remarks(folder: str | Path, names: tuple[str, ...] = ("captions", "text")) -> list[str]:
    """One line for each file and kind of character: in how many utterances, in which, and what to do.

    Args:
        folder: a data directory.
        names: the files that are looked at, where they exist.
    """
    found = []
    for name in names:
        path = Path(folder) / name
        if not path.is_file():
            continue
        texts = {utt_id: _texts(name, value) for _, utt_id, value in scan_lines(path, may_be_empty=True)[0]}
        for what, holds in _KINDS:
            ids = [utt_id for utt_id, each in texts.items() if any(map(holds, each))]
            if ids:
                shown = few(list(map(shorten, ids)))
                found.append(f"{path}: {len(ids)} of {len(texts)} utterances ({shown}) have {what}")
    return found


def _texts(name: str, value: str) -> list[str]:
    if name != "captions":
        return [value]
    try:
        return parse_captions(value)
    except ValueError:  # validate_data_dir lists it
        return []

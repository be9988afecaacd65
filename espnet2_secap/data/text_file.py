"""Reads text files as people and programs write them: the one reader for every format but binary ones.

UTF-8, with or without a byte order mark; lines end with LF, CRLF, or, in a file without any LF, CR. Other characters
that end a line for Python's `splitlines` (U+0085, U+2028, form feed, ...) are part of it.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet2_secap.errors import SecError, shorten

BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # byte order marks of UTF-16 and UTF-32
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\ud800-\udfff]")  # all but the tab; what UTF-8 has no bytes for
UTF8 = "is not UTF-8; convert the file with iconv"
UTF16 = "is UTF-16 or UTF-32, must be UTF-8; convert it: iconv -f UTF-16 -t UTF-8"


def is_utf16(data: bytes) -> bool:
    """Whether bytes look like UTF-16 or UTF-32: by their byte order mark, or since every second byte is zero."""
    return data.startswith(_WIDE) or data.count(0) * 4 > len(data)


def unify_line_ends(text: str) -> str:
    """CRLF becomes LF, and so does CR in a text without any LF."""
    if "\r" not in text:
        return text
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def plain_text(text: str) -> str:
    """Lower case, single blanks, and one form for ａ and a, and for é as one or two code points."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_text(path: str | Path) -> str:
    """The text of a file, its lines separated by LF.

    Raises:
        SecError: no such file, or not UTF-8 (with the line).
        OSError: the file cannot be read.
    """
    path = Path(path)
    if not (path.is_file() or path.is_fifo()):  # a pipe: <(command) of bash
        raise SecError(f"{path}: does not exist; make it, or check the path")
    data = path.read_bytes()
    if is_utf16(data):
        raise SecError(f"{path}: {UTF16}")
    try:
        return unify_line_ends(data.removeprefix(BOM).decode("utf-8"))
    except UnicodeDecodeError as err:
        raise SecError(f"{path}:{data.count(10, 0, err.start) + 1}: {UTF8}") from None


def read_lines(path: str | Path) -> list[str]:
    """The lines of a file that are not empty, without blanks around them.

    Raises:
        SecError: as `read_text`, and where a line holds a control character.
    """
    lines = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.strip()
        if CONTROL.search(line):
            raise SecError(f"{path}:{number}: {shorten(line)}: holds a control character; remove it")
        lines += [line] if line else []
    return lines


def read_names(path: str | Path) -> list[str]:
    """The first field of each line that is not empty, up to a blank or tab: of a list of ids, or of any Kaldi file.

    Raises:
        SecError: as `read_lines`.
    """
    return [re.split("[ \t]", line, maxsplit=1)[0] for line in read_lines(path)]


def read_table(path: str | Path) -> list[list[str]]:
    """The fields of each line of a TSV file that is not empty.

    Raises:
        SecError: as `read_text`.
    """
    return [line.split("\t") for line in read_text(path).split("\n") if line]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in content if names.count(name) > 1)
        raise ValueError(f"the key {shorten(twice)!r} occurs twice")
    return content


def read_json(path: str | Path, hint: str = "fix it", by_hand: bool = False) -> Any:
    """The content of a JSON file.

    Args:
        hint: what to do if it is not JSON.
        by_hand: people write it, and so a key that an object has twice is an error.

    Raises:
        SecError: as `read_text`, and where it is not JSON.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=_once if by_hand else None)
    except SecError:
        raise
    except (ValueError, RecursionError) as err:
        raise SecError(f"{path}: is not JSON ({err}); {hint}") from None


# Names of columns, which stand in the first line of tables that other tools write.
_ID = set("id ids utt utt_id uttid utterance utterance_id key name fid file filename file_name path audio wav".split())
_ID |= {"audio_path", "audio_file", "wav_path", "segment", "segment_id", "index"}
_VALUE = _ID | set("caption captions text texts transcript transcription sentence label emotion speaker".split())
_VALUE |= {"speaker_id", "spk", "emo", "duration", "description"}
_JSON = re.compile(r'\{\s*("|$)|\[\s*(["{\[]|$)')


def foreign_format(lines: Sequence[str]) -> str | None:
    """What a file is, and what to do, if its lines are not `id value` (Kaldi) but JSON, or a table with a header or
    with commas; None if nothing speaks against `id value`."""
    top = next((line.strip() for line in lines if line.strip()), "")
    shown = shorten(top, 60)
    if top.startswith("version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself; run `git lfs pull`"
    if re.match(r"<(!doctype|html|\?xml)\b", top, re.IGNORECASE):
        return f"looks like a web page or XML ({shown}), expected lines `id value`; get the file again, or convert it"
    if _JSON.match(top):
        return f"looks like JSON ({shown}), expected lines `id value`; convert it"
    first = [field.strip("\"' ").casefold() for field in re.split(r"[,;\t ]", top)]
    if first[0] in _ID and len(first) > 1 and first[1] in _VALUE:
        kind = "CSV" if "," in top or ";" in top else "TSV" if "\t" in top else "a table"
        return f"looks like {kind} with a header ({shown}), expected lines `id value`; convert it, without the header"
    one = top.split(None, 1)[0] if top else ""
    if one[:1] == '"' or "," in one or ";" in one:  # one, or all?
        ids = [line.split(None, 1)[0] for line in lines if line.strip()]
        if any(_is_csv(ids, separator) for separator in ",;"):
            return f"looks like CSV ({shown}), expected lines `id value`; convert it"
        if len(ids) > 1 and all(len(one) > 1 and one[0] == one[-1] == '"' for one in ids):
            return f"has ids in quotes ({shown}), expected lines `id value`; convert it"
    return None


def _is_csv(ids: list[str], separator: str) -> bool:
    """Whether each begins with another name and a separator: `a,a` and `b,the`, but not `s1,a` and `s1,b`."""
    return len({one.split(separator)[0] for one in ids if separator in one}) == len(ids) > 1

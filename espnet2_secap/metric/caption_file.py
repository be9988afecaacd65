"""Reads caption files of every format that sec_score accepts; the format is detected from the content.

captions        id ["caption", ...]                         as in a data directory
Kaldi text      id caption                                  one caption per utterance
JSON            {"id": "caption" or ["caption", ...], ...}
JSON lines      {"id": "...", "captions": "caption" or ["caption", ...]} or {"id": "caption", ...} on each line;
                candidates.jsonl of sec_inference is in this format
result.txt      output of released SECap: file:, origin: (the reference), result:, result2:, ... per utterance
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet2_secap.data.io import bad_id, check_captions, good_lines, is_list, parse_captions
from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError, shorten

Captions = dict[str, list[str]]
KEYS = ("captions", "caption", "texts", "text")  # of a JSON line with "id", the first that is there
_FIELD = re.compile(r"(file|origin|result([0-9]{0,9})): ?(.*)")


class _Fault(Exception):
    """What is wrong and what to do, with the line (0: not known) and the id; the reader adds the file name."""

    def __init__(self, message: str, line: int = 0, utt: str = ""):
        place = f":{line}" if line else ""
        super().__init__(f"{place}: {shorten(utt)}: {message}" if utt else f"{place}: {message}")


def read_caption_file(path: str | Path, system: bool) -> Captions:
    """Read captions in any of the formats: id -> its captions, at least one.

    Args:
        path: the file.
        system: whether a system made the captions. If so, they may be empty, and of a result.txt the results are
            read; otherwise its origins are read.

    Raises:
        SecError: no such file, or a line that does not follow the format (the message has file, line and id).
    """
    path = Path(path)
    content = read_text(path)
    start = content.lstrip()[:5]
    if not start:
        raise SecError(f"{path}: is empty; create it again")
    if start == "file:":
        pairs = _result_txt(content, system)
    elif start[0] in "{[":
        pairs = _json(content)
    else:
        pairs = _kaldi(path, system)
    captions: Captions = {}
    try:
        for line, utt, value in pairs:
            fault = bad_id(utt) or ("the id occurs twice; remove one of them" if utt in captions else None)
            if fault:
                raise _Fault(fault, line, utt)
            try:
                if isinstance(value, str) and is_list(value):
                    captions[utt] = parse_captions(value, may_be_empty=system)
                else:
                    captions[utt] = check_captions([value] if isinstance(value, str) else value, may_be_empty=system)
            except ValueError as err:
                raise _Fault(str(err), line, utt) from None
    except _Fault as err:
        raise SecError(f"{path}{err}") from None
    if not captions:
        raise SecError(f"{path}: holds no captions; create it again")
    return captions


def _kaldi(path: Path, system: bool) -> Iterator[tuple[int, str, Any]]:
    """`id ["caption", ...]` if any line has a list, else `id caption`."""
    entries = good_lines(path, may_be_empty=system, strict=False)
    lists = any(is_list(value) for _, _, value in entries)
    if not lists and all(re.fullmatch(r"""(["'])(?:(?!\1).)+\1""", value) for _, _, value in entries):
        number, utt, _ = entries[0]
        raise _Fault('stands in quotes, as every caption here; write `id caption` or id ["caption", ...]', number, utt)
    for number, utt, value in entries:
        if lists and not is_list(value):
            raise _Fault('is not a list of captions, as others here are; write id ["caption", ...]', number, utt)
        yield number, utt, value if lists else [value]


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None  # which check_captions refuses, with the line's number and id


def _json(content: str) -> Iterator[tuple[int, str, Any]]:
    """One object, a list of objects, or an object on each line."""
    try:
        whole = json.loads(content, object_pairs_hook=_once)
    except RecursionError:
        raise _Fault("is nested too deeply to be captions") from None
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, dict) and "id" not in whole:
        _check_keys(0, whole)
        yield from ((0, utt, value) for utt, value in whole.items())
    elif isinstance(whole, list):
        yield from (pair for row in whole for pair in _of_row(0, row))
    else:
        for number, line in enumerate(content.split("\n"), 1):
            if line.strip():
                yield from _of_row(number, _parsed(line))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Fault("the id occurs twice; remove one of them", utt=twice)
    return row


def _of_row(number: int, row: Any) -> Iterator[tuple[int, str, Any]]:
    """The captions of one object: of one utterance under a key of `KEYS`, or of several whose ids are its keys."""
    if not isinstance(row, dict):
        raise _Fault('is not a JSON object; write {"id": "...", "captions": ["caption", ...]}', number)
    if "id" not in row:
        _check_keys(number, row)
        yield from ((number, utt, value) for utt, value in row.items())
        return
    utt = str(row["id"])
    if isinstance(row.get("candidates"), list):  # written by sec_inference: the candidates that it kept
        candidates = row["candidates"][: row.get("kept")]
        yield number, utt, [one.get("text") if isinstance(one, dict) else one for one in candidates]
        return
    key = next((key for key in KEYS if key in row), None)
    if key is None:
        raise _Fault(f"has none of the keys {', '.join(KEYS)}; add one", number, utt)
    yield number, utt, row[key]


def _check_keys(number: int, row: dict) -> None:
    """Refuse a row whose id stands under another name, so that its keys are no ids."""
    key = next((key for key in KEYS if key in row), None)
    if key and len(row) > 1:
        others = ", ".join(shorten(name, 30) for name in row if name not in KEYS)
        raise _Fault(f'has the key {key} without the key id (but {others}); name the key of the id "id"', number)


def _result_txt(content: str, system: bool) -> Iterator[tuple[int, str, Any]]:
    """Blocks of file:, origin:, result:, result2:, ...; the id is the file name without folder and suffix."""
    start, utt, found = 0, "", {}
    for number, line in enumerate(content.split("\n"), 1):
        line = line.strip()
        field = _FIELD.fullmatch(line)
        if line and field is None:
            raise _Fault("is not a line of result.txt (file:, origin:, result:, result2:, ...)", number, utt)
        if not line:
            continue
        name, count, text = field.groups()
        if name != "file":
            key = 0 if name == "origin" else int(count or 1)
            if key in found:
                raise _Fault(f"has {line.split(':')[0]}: twice; remove one of them", number, utt)
            found[key] = text.strip()
            continue
        if start:
            yield start, utt, _of_block(found, system)
        start, utt, found = number, Path(re.split(r"[/\\]", text.strip())[-1]).stem, {}
    yield start, utt, _of_block(found, system)


def _of_block(found: dict[int, str], system: bool) -> list[str]:
    return [found[key] for key in sorted(found) if (key > 0) == system]


def clues_of_decoding(captions: str | Path) -> str | None:
    """Where the clues came from that a model read when it wrote these captions (sec_inference --clues).

    By the header of candidates.jsonl beside the file; None if there is no such file, or it names none.
    """
    path = Path(captions).with_name("candidates.jsonl")
    if not path.is_file():
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline()
    try:
        clues = json.loads(first)["header"]["clues"]
    except (ValueError, KeyError, TypeError):
        return None
    return clues if isinstance(clues, str) else None

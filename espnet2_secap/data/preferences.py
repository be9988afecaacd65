"""Preference pairs: of two captions of an utterance the one that is to be preferred (Rafailov et al., NeurIPS 2023).

A file of pairs is JSON lines with the fields of `Pair` in this order:

    {"id": "u1", "prompt": "请描述...", "chosen": "语速较快，情绪愤怒", "rejected": "语速较快，情绪悲伤",
     "type": "factuality", "source": "rule", "margin": 1.0}
"""

import json
import math
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from espnet2_secap.data.io import atomic_write, bad_id, is_visible
from espnet2_secap.data.script import in_script
from espnet2_secap.data.text_file import BOM, UTF8, UTF16, is_utf16
from espnet2_secap.errors import SecError, shorten

TYPES = ("factuality", "faithfulness", "quality")  # what is wrong with the rejected caption
SOURCES = ("sampled", "rule", "file")  # where the pair comes from


@dataclass(frozen=True)
class Pair:
    """Two captions of an utterance.

    Args:
        id: of the utterance.
        prompt: the instruction.
        chosen, rejected: captions.
        type: factuality: an attribute of the speech is wrong; faithfulness: the instruction is not followed, or the
            caption is not one of this speech; quality: neither, but the caption is the poorer one.
        source: sampled from a model, made by a rule, or from a file.
        margin: how much better the chosen caption is by what ranked the two, 0 or more; 0 if that is not known.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    type: str
    source: str
    margin: float


FIELDS = tuple(field.name for field in fields(Pair))
TEXTS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Expected:
    """What the pairs of a file must fit.

    Args:
        ids: known utterances; None: any.
        known_from: where these are listed, for messages.
        forbidden: id -> the validation or test set that it is of.
        lang: code of the captions' language; None: any.
    """

    ids: Container[str] | None = None
    known_from: str = "the data directory"
    forbidden: Mapping[str, str] | None = None
    lang: str | None = None

    def fault(self, pair: Pair) -> str | None:
        """What is wrong with a pair, and what to do; None if nothing is."""
        if bad := bad_id(pair.id):
            return bad
        if pair.id in (self.forbidden or ()):
            return f"is an utterance of {self.forbidden[pair.id]}, which may not be trained on; remove its pairs"
        if self.ids is not None and pair.id not in self.ids:
            return f"is not in {self.known_from}; remove the pair, or give the folder that has the utterance"
        for name in TEXTS:
            if not is_visible(getattr(pair, name)):
                return f"{name} is empty; add its words, or remove the pair"
            if any("\ud800" <= char <= "\udfff" for char in getattr(pair, name)):
                return f"{name} has half a surrogate pair, which is no character; remove the pair"
        for name, known in (("type", TYPES), ("source", SOURCES)):
            if getattr(pair, name) not in known:
                return f"{name} {shorten(repr(getattr(pair, name)))}: must be one of {', '.join(known)}"
        if not math.isfinite(pair.margin):
            return f"margin {pair.margin}: must be a number"
        if pair.margin < 0:
            return f"margin {pair.margin:g}: is below 0; swap chosen and rejected, or remove the pair"
        if alike(pair.chosen, pair.rejected):
            return "chosen and rejected are the same but for case, width, blanks or punctuation; remove the pair"
        for name in ("chosen", "rejected") if self.lang else ():
            # An unfaithful caption may be in any language: that is what is wrong with it.
            if not in_script(getattr(pair, name), self.lang) and (name, pair.type) != ("rejected", "faithfulness"):
                shown = shorten(getattr(pair, name), 30)
                return f"{name} ({shown}) is not in the script of --lang {self.lang}; remove it, or give its language"
        return None


def essence(text: str) -> str:
    """What of a caption counts in comparisons: letters and digits under NFKC in lower case; all of it, if none are."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(filter(str.isalnum, plain)) or "".join(plain.split())


def alike(first: str, second: str) -> bool:
    """Whether two captions are the same but for case, width, blanks and punctuation."""
    return essence(first) == essence(second)


def scan_pairs(path: str | Path, expected: Expected | None = None) -> tuple[list[Pair], list[str]]:
    """Read a file of pairs and list everything that is wrong with it.

    Returns:
        the good pairs, in the file's order; problems, each as "file:line: id: what; what to do".

    Raises:
        OSError: the file exists but cannot be read.
    """
    path, expected = Path(path), expected or Expected()
    pairs: list[Pair] = []
    problems: list[str] = []
    seen: dict[tuple[str, str, str], int] = {}
    if not path.is_file():
        return [], [f"{path}: does not exist; make it with sec_pairs make or import, or check the path"]
    for number, line in _lines(path):
        if isinstance(line, str):
            problems.append(f"{path}:{number}: {line}" if number else f"{path}: {line}")
            continue
        try:
            pair = _parsed(line)
            fault = expected.fault(pair) or _seen_before(pair, number, seen)
        except _Fault as err:
            pair, fault = None, str(err)
        if fault:
            problems.append(f"{path}:{number}: " + (f"{shorten(pair.id) or 'no id'}: {fault}" if pair else fault))
        else:
            pairs.append(pair)
    if not pairs and not problems:
        problems.append(f"{path}: is empty; make it with sec_pairs make or import")
    return pairs, problems


def read_pairs(path: str | Path, expected: Expected | None = None) -> list[Pair]:
    """Read a file of pairs, in its order.

    Raises:
        SecError: the first problem that `scan_pairs` finds, and how many more there are.
    """
    pairs, problems = scan_pairs(path, expected)
    if problems:
        more = f" ({len(problems) - 1} more such lines: sec_pairs check)" if len(problems) > 1 else ""
        raise SecError(problems[0] + more)
    return pairs


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> int:
    """Write pairs, at once or not at all; returns how many."""
    count = 0
    with atomic_write(path) as stream:
        for pair in pairs:
            count += 1
            row = asdict(pair) | {"margin": round(pair.margin, 6)}
            print(json.dumps(row, ensure_ascii=False), file=stream)
    return count


class _Fault(Exception):
    """What is wrong with a line, with the id where there is one, and what to do."""


def _lines(path: Path) -> Iterator[tuple[int, bytes | str]]:
    """Number and bytes of each line that is not blank, or what is wrong with it (line 0: the whole file)."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if number == 1:
                if is_utf16(line):
                    yield 0, UTF16
                    return
                line = line.removeprefix(BOM)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                yield number, UTF8
                continue
            if line.strip():
                yield number, line


def _parsed(line: bytes) -> Pair:
    """The pair of a line.

    Raises:
        _Fault: it is none.
    """
    try:
        row: Any = json.loads(line, object_pairs_hook=tuple)  # keeps fields that occur twice
    except (ValueError, RecursionError):
        raise _Fault(f"is not JSON; write one object a line, with {', '.join(FIELDS)}") from None
    if not isinstance(row, tuple):
        raise _Fault(f"is not a JSON object; write one a line, with {', '.join(FIELDS)}")
    names, values = [name for name, _ in row], dict(row)
    where = f"{shorten(values['id'])}: " if isinstance(values.get("id"), str) else ""
    if missing := [name for name in FIELDS if name not in values]:
        raise _Fault(f"{where}lacks {', '.join(missing)}; add it, or read the file with sec_pairs import")
    if unknown := [name for name in values if name not in FIELDS]:
        raise _Fault(f"{where}unknown field {shorten(', '.join(unknown))}; known: {', '.join(FIELDS)}")
    if len(names) > len(FIELDS):
        raise _Fault(f"{where}a field occurs twice; remove one of them")
    if tuple(names) != FIELDS:
        raise _Fault(f"{where}the fields are in the order {', '.join(names)}; write them as {', '.join(FIELDS)}")
    for name in FIELDS[:-1]:
        if not isinstance(values[name], str):
            raise _Fault(f"{where}{name} {shorten(repr(values[name]))}: must be text")
    margin = values["margin"]
    if isinstance(margin, bool) or not isinstance(margin, (int, float)):
        raise _Fault(f"{where}margin {shorten(repr(margin))}: must be a number")
    try:
        return Pair(**values | {"margin": float(margin)})
    except OverflowError:
        raise _Fault(f"{where}margin {shorten(repr(margin))}: is too large") from None


def _seen_before(pair: Pair, number: int, seen: dict[tuple[str, str, str], int]) -> str | None:
    """Whether an earlier line has the pair, or the same captions the other way round."""
    chosen, rejected = essence(pair.chosen), essence(pair.rejected)
    if (pair.id, rejected, chosen) in seen:
        return f"prefers what line {seen[pair.id, rejected, chosen]} rejects; remove one of the two"
    first = seen.setdefault((pair.id, chosen, rejected), number)
    return None if first == number else f"is the pair of line {first} again; remove one of the two"

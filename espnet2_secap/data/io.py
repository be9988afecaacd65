"""Reading and writing the text files of a data directory: `id value` lines, UTF-8, sorted by id."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from espnet2_secap.data.conf import read_yaml
from espnet2_secap.data.text_file import BOM, CONTROL, UTF8, UTF16, foreign_format, is_utf16
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.files import atomic_write, make_dir, named_os_errors

__all__ = ["atomic_write", "make_dir", "named_os_errors", "read_yaml"]  # of other files, from here too

Value = TypeVar("Value")
_NO_NAME = re.compile(r"[/\\]|^[-.]|%(?=[0-9A-F]{2})")  # in a file name; the last keeps `a%2Fb` apart from `a/b`
# A list of captions, in JSON or as people and Python's repr write one; a sentence that begins with [laughter] is none.
_LIST = re.compile(r"""(?:[\[［【]\s*){1,2}(?:["'“”‘’＂＇「『]|[\]］】]$)""")
_HALF = re.compile("[\ud800-\udfff]")
MAX_ID_BYTES = 200  # an id becomes a file name with a suffix; file systems take 255 bytes


def bad_id(utt_id: str) -> str | None:
    """Say why `utt_id` cannot be an utterance's id, or return None if it can; see `file_name` for its files."""
    if not utt_id.isprintable() or not utt_id or " " in utt_id:  # no other blank is printable
        return "an id may not be empty or hold blanks or control characters; rename it"
    if len(utt_id.encode("utf-8", "replace")) > MAX_ID_BYTES:
        return f"an id may not be longer than {MAX_ID_BYTES} bytes; rename it"
    return None


def file_name(utt_id: str) -> str:
    """A file name for an id, another one for each: it leads out of no folder and looks like no option.

    >>> file_name("dia0/utt1"), file_name("-x"), file_name("a-b.c")
    ('dia0%2Futt1', '%2Dx', 'a-b.c')
    """
    name = _NO_NAME.sub(lambda match: f"%{ord(match[0]):02X}", utt_id)
    content = name.encode("utf-8")
    if len(content) > MAX_ID_BYTES:
        name = f"{content[:160].decode('utf-8', 'ignore')}-{hashlib.sha256(utt_id.encode()).hexdigest()[:32]}"
    return name


def same_but_for_form(ids: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Those of `ids` that `others` have in another Unicode form (é as one or two code points), with their twins."""
    twins = {unicodedata.normalize("NFC", other): other for other in others}
    plain = {utt_id: unicodedata.normalize("NFC", utt_id) for utt_id in ids}
    return {utt_id: twins[form] for utt_id, form in plain.items() if form in twins and twins[form] != utt_id}


Entry = tuple[int, str, str]  # line number, id, value


def scan_lines(path: str | Path, may_be_empty: bool = False, strict: bool = True) -> tuple[list[Entry], list[str]]:
    """Read the `id value` lines of a file and list everything that is wrong with them.

    Args:
        may_be_empty: accept an id without a value, as in Kaldi's text.
        strict: report a byte order mark and CRLF, which ESPnet's, kaldiio's and Kaldi's readers take for part of an id
            or value; otherwise read over them.

    Returns:
        line number, id and value of every readable line with an id, each id once (a value may be missing);
        problems, each as "file:line: id: what; what to do". Order is not checked here (data.validate).

    Raises:
        OSError: the file exists but cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        return [], [f"{path}: does not exist; make it, or check the path"]
    data = path.read_bytes()
    if not data.removeprefix(BOM).strip():
        return [], [f"{path}: is empty; run the stage that makes it again"]
    if is_utf16(data):
        return [], [f"{path}: {UTF16}"]
    problems = []
    if data.startswith(BOM):
        data = data[len(BOM) :]
        if strict:
            problems.append(f"{path}:1: begins with a byte order mark (BOM); save it as plain UTF-8")
    if not strict and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if not lines[-1]:
        lines.pop()
    if foreign := foreign_format(lines):
        return [], [*problems, f"{path}: {foreign}"]
    entries: list[Entry] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if not line.isprintable() and _HALF.search(line):
            problems.append(f"{where}: {shorten(line.split(' ')[0])}: {UTF8}")
            continue
        utt_id, value = _split(line.rstrip("\r"))
        fault = bad_line(utt_id, value)
        if fault:
            problems.append(f"{where}: {shorten(utt_id) or 'blank line'}: {fault}")
        if strict and line.endswith("\r"):
            name = shorten(utt_id) or "blank line"
            problems.append(f"{where}: {name}: ends with CRLF; convert the file with `sed -i 's/\\r$//'`")
        if not utt_id:
            problems.append(f"{where}: has no id (blank line or leading blank); remove or fix the line")
        elif utt_id in seen:
            problems.append(f"{where}: {shorten(utt_id)}: the id is there twice; remove one of the lines")
        else:
            seen.add(utt_id)
            entries.append((number, utt_id, value))
            if not value and not may_be_empty:
                problems.append(f"{where}: {shorten(utt_id)}: has no value; add it or remove the line")
    return entries, problems


def bad_line(utt_id: str, value: str) -> str | None:
    """What is wrong with the characters of a line, or None."""
    if CONTROL.search(value) or CONTROL.search(utt_id):  # a \r is the end of a line for ESPnet's and kaldiio's readers
        return "holds a control character; remove it"
    if not utt_id.isprintable():  # ESPnet's and kaldiio's readers end the id at any blank of Unicode
        odd = next(char for char in utt_id if not char.isprintable())
        what = f"an id may not be empty or hold blanks or control characters (U+{ord(odd):04X}"
        return f"{what} {unicodedata.name(odd, '')}); rename it, and write a blank or tab behind it"
    if utt_id and not utt_id.strip("#"):
        return "is a comment, which these files cannot have; remove the line"
    return None


def _split(line: str) -> tuple[str, str]:
    """`id value` at the first blank or tab; other Unicode blanks (U+3000, ...) belong to the value."""
    utt_id, _, value = line.partition(" ")
    if "\t" in utt_id:
        utt_id, _, value = line.partition("\t")
    return utt_id, value.strip(" \t")


def is_list(value: str) -> bool:
    """Whether a line's value is meant as a list of captions, not as a sentence."""
    return bool(_LIST.match(value))


def parse_captions(value: str, may_be_empty: bool = False) -> list[str]:
    """The captions in a line's value, a JSON list.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        what = "is not JSON"
        if re.search(r"[\[,]\s*'", value):
            what += " but a list as Python prints it (single quotes)"
        elif re.search(r"[［【］】]|[\[,，]\s*[“”‘’＂]", value):
            what += ": its brackets or quotes are not the ASCII ones"
        raise ValueError(f'{what}; write id ["caption", ...]') from None
    return check_captions(parsed, may_be_empty)


def check_captions(captions: object, may_be_empty: bool = False) -> list[str]:
    """Return an utterance's captions after checking that they are a list of one or more texts.

    Args:
        captions: anything.
        may_be_empty: accept empty captions, which a system may write.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    if not isinstance(captions, list) or not {type(one) for one in captions} <= {str}:
        raise ValueError('is not a list of captions; write id ["caption", ...]')
    if not captions:
        raise ValueError("has no caption; add one, or leave the utterance out of all files")
    if not may_be_empty and not all(map(is_visible, captions)):
        raise ValueError("has an empty caption; add its words or remove it")
    if not may_be_empty and any(map(_HALF.search, captions)):
        raise ValueError("has half a surrogate pair (\\ud800 to \\udfff), which is no character; remove it")
    return captions


def is_visible(text: str) -> bool:
    """Whether a text holds anything but blanks, control characters and invisible ones."""
    for char in text:  # no generator: most texts end at their first character
        if char.isprintable() and not char.isspace():
            return True
    return False


def good_lines(path: str | Path, may_be_empty: bool = False, strict: bool = True) -> list[Entry]:
    """The lines of a file in which `scan_lines` finds no problem.

    Raises:
        SecError: the first problem, and how many more there are.
    """
    entries, problems = scan_lines(path, may_be_empty, strict)
    if problems:
        more = f" ({len(problems) - 1} more such lines)" if len(problems) > 1 else ""
        raise SecError(problems[0] + more)
    return entries


def only(table: Mapping[str, object], ids: Container[str]) -> dict:
    """The lines of these ids, in the table's order."""
    return {utt_id: value for utt_id, value in table.items() if utt_id in ids}


def read_kaldi(path: str | Path, may_be_empty: bool = False) -> dict[str, str]:
    """Read an `id value` file; ids in the file's order.

    Args:
        may_be_empty: accept an id without a value, as in Kaldi's text.

    Raises:
        SecError: missing or empty file, BOM, CRLF, not UTF-8, an id twice or without a value.
    """
    return {utt_id: value for _, utt_id, value in good_lines(path, may_be_empty)}


def read_parsed(path: str | Path, parse: Callable[[str], Value]) -> dict[str, Value]:
    """Read an `id value` file: id -> what `parse` makes of the value; ids in the file's order.

    Args:
        parse: raises a ValueError that says what is wrong with a value, and what to do.

    Raises:
        SecError: as `read_kaldi`, and where a value cannot be parsed.
    """
    found = {}
    for number, utt_id, value in good_lines(path):
        try:
            found[utt_id] = parse(value)
        except ValueError as err:
            raise SecError(f"{path}:{number}: {shorten(utt_id)}: {err}") from None
    return found


def read_captions(path: str | Path, may_be_empty: bool = False) -> dict[str, list[str]]:
    """Read a `captions` file: id -> its captions, at least one.

    Args:
        path: the file.
        may_be_empty: accept empty captions, which a system may write.

    Raises:
        SecError: as `read_kaldi`, and where a line is not a JSON list of captions.
    """
    return read_parsed(path, partial(parse_captions, may_be_empty=may_be_empty))


def read_lengths(path: str | Path) -> dict[str, int]:
    """Read utt2num_frames or utt2num_samples: id -> a positive number.

    Raises:
        SecError: as `read_kaldi`, and where a value is not a positive number.
    """

    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 16 and int(value) > 0):
            raise ValueError(f"{shorten(value)!r} is not a positive number; run the stage that makes this file again")
        return int(value)

    return read_parsed(path, parse)


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Read a shape file of stage 4: id -> its length, and the width of stored features.

    Raises:
        SecError: as `read_kaldi`, and where a value is not positive numbers separated by commas.
    """

    def parse(value: str) -> tuple[int, ...]:
        if not re.fullmatch(r"[1-9][0-9]{0,15}(,[1-9][0-9]{0,15})*", value):
            raise ValueError(f"{shorten(value)!r} is not `length` or `length,width`; run stage 4 again")
        return tuple(map(int, value.split(",")))

    return read_parsed(path, parse)


def write_kaldi(path: str | Path, mapping: Mapping[str, object], may_be_empty: bool = False) -> None:
    """Write an `id value` file, sorted by id, at once or not at all.

    Args:
        may_be_empty: write ids without a value too, as in Kaldi's text.

    Raises:
        SecError: an id or a value that would not be read back unchanged.
    """
    lines = []
    for utt_id in sorted(mapping):
        value = str(mapping[utt_id]).strip(" \t")
        if not utt_id or " " in utt_id or "\t" in utt_id or CONTROL.search(utt_id):
            raise SecError(f"{path}: {shorten(utt_id)!r} cannot be an id: it is empty or holds blanks; rename it")
        if not (value or may_be_empty) or CONTROL.search(value):
            raise SecError(f"{path}: {shorten(utt_id)}: its value is empty or holds control characters; fix it")
        lines.append(f"{utt_id} {value}".rstrip(" ") + "\n")
    with atomic_write(path) as stream:
        stream.writelines(lines)


def list_value(items: Iterable) -> str:
    """A list as the value of a line: JSON, read by `is_list`, `parse_captions` and the like."""
    return json.dumps(list(items), ensure_ascii=False)


def write_captions(path: str | Path, captions: Mapping[str, list[str]], may_be_empty: bool = False) -> None:
    """Write a `captions` file (`id ["caption", ...]`), sorted by id, at once or not at all; see `read_captions`."""
    for utt_id, sentences in captions.items():
        try:
            check_captions(sentences, may_be_empty)
        except ValueError as err:
            raise SecError(f"{path}: {shorten(utt_id)}: {err}") from None
    write_kaldi(path, {key: list_value(value) for key, value in captions.items()})


def write_json(path: str | Path, content: object) -> None:
    """Write a JSON file for people to read too, at once or not at all."""
    with atomic_write(path) as stream:
        json.dump(content, stream, ensure_ascii=False, indent=1)
        stream.write("\n")


def invert(utt2key: Mapping[str, str]) -> dict[str, str]:
    """Turn utt2spk into spk2utt (or utt2emo into emo2utt): key -> its ids in order, blanks between them."""
    grouped: dict[str, list[str]] = {}
    for utt_id in sorted(utt2key):
        grouped.setdefault(utt2key[utt_id], []).append(utt_id)
    return {key: " ".join(ids) for key, ids in grouped.items()}

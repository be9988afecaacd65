"""Reading and writing the text files of a data directory: `id value` lines, UTF-8, sorted by id."""

import errno
import glob
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from espnet2_secap.errors import SecError, shorten
from espnet2_secap.process.processes import start_of

BOM = b"\xef\xbb\xbf"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\ud800-\udfff]")  # all but the tab; what UTF-8 has no bytes for
MAX_ID_BYTES = 200  # an id becomes a file name with a suffix; file systems take 255 bytes
OS_HINTS = {
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another path",
    errno.EEXIST: "there is a file where a folder is wanted: choose another path",
    errno.EISDIR: "there is a folder where a file is wanted: choose another path",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EFBIG: "the limit for file sizes is reached: raise `ulimit -f`, then run the same command again",
    errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
    errno.EPERM: "not permitted here: choose another folder",
}


@contextmanager
def named_os_errors(path: str | Path) -> Iterator[None]:
    """Make an OSError of the block name `path`, or turn it into a SecError where we know what to do.

    Errors without a hint here (no space, no permission, ...) stay OSError, for `cli` to print.
    """
    try:
        yield
    except OSError as err:
        if err.errno in OS_HINTS:
            raise SecError(f"{path}: {err.strerror}; {OS_HINTS[err.errno]}") from err
        err.filename = str(path)
        raise


def make_dir(path: str | Path) -> Path:
    """Make a folder and its parents where they are missing, and return it."""
    with named_os_errors(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", sync: bool = True) -> Iterator[IO]:
    """Open a file beside `path` that takes its place when the block ends well, and is removed otherwise.

    Args:
        path: what to write. An earlier file of this name stays whole until the new one is complete.
        mode: "w" (text: UTF-8, newline "\\n") or "wb".
        sync: have it on the disk before it takes its place, and remove what processes that were killed left of
            it. Without, it is safe against a kill, not against a power cut, and takes no time in large folders.

    Raises:
        OSError, SecError: no space, no permission, no such folder, ...; the message names `path`.
    """
    assert mode in ("w", "wb"), mode
    part = f"{path}.tmp.{os.getpid()}"
    text = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
    if sync:
        _remove_left_over(Path(path))
    with named_os_errors(path):
        if os.path.lexists(part):  # of a killed process of the same number, or a link that leads elsewhere
            os.unlink(part)
        stream = open(part, mode.replace("w", "x"), **text)
    try:
        try:
            yield stream
            with named_os_errors(path):
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
        finally:
            with named_os_errors(path):
                stream.close()
        with named_os_errors(path):
            os.replace(part, path)
    except BaseException as err:
        if os.path.lexists(part):
            os.unlink(part)
        # torch.save raises a RuntimeError of its own while it handles a write's error.
        cause = err.__context__ if isinstance(err, RuntimeError) else err
        if isinstance(cause, OSError) and cause.errno and cause.filename is None:  # a write inside the block
            with named_os_errors(path):
                raise cause from None
        raise


def _remove_left_over(path: Path) -> None:
    for part in path.parent.glob(f"{glob.escape(path.name)}.tmp.*"):
        pid = part.name.rsplit(".", 1)[1]
        if pid.isdigit() and start_of(int(pid)) is None:
            part.unlink(missing_ok=True)


def bad_id(utt_id: str) -> str | None:
    """Say what keeps `utt_id` from being an utterance's id, or return None where it is a good one.

    Ids become file names: nothing may lead out of the output folder or look like an option.
    """
    if not utt_id or any(c.isspace() or not c.isprintable() for c in utt_id):
        return "an id may not be empty or hold blanks or control characters; rename it"
    if utt_id[0] in "-.":
        return f"an id may not begin with {utt_id[0]!r}; rename it"
    if "/" in utt_id or "\\" in utt_id:
        return "an id may not hold a slash; rename it"
    if len(utt_id.encode("utf-8", "replace")) > MAX_ID_BYTES:
        return f"an id may not be longer than {MAX_ID_BYTES} bytes; rename it"
    return None


Entry = tuple[int, str, str]  # line number, id, value


def scan_lines(path: str | Path, may_be_empty: bool = False) -> tuple[list[Entry], list[str]]:
    """Read the `id value` lines of a file and list all that is wrong with them.

    Args:
        may_be_empty: whether an id without a value is right, as in Kaldi's text.

    Returns:
        line number, id and value of every line that has an id and can be read, each id once (a value may be
        missing); problems, each as "file:line: id: what; what to do". Order is not checked here (data.validate).

    Raises:
        OSError: the file is there but cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        return [], [f"{path}: does not exist; make it, or check the path"]
    data = path.read_bytes()
    if not data.strip():
        return [], [f"{path}: is empty; run the stage that makes it again"]
    problems = []
    if data.startswith(BOM):
        data = data[len(BOM) :]
        problems.append(f"{path}:1: begins with a byte order mark (BOM); save it as plain UTF-8")
    entries: list[Entry] = []
    seen: set[str] = set()
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines, 1):
        where = f"{path}:{number}"
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            name = shorten(raw.split(b" ")[0].decode("utf-8", "replace"))
            problems.append(f"{where}: {name}: is not UTF-8; convert the file with iconv")
            continue
        utt_id, value = _split(line.rstrip("\r"))
        if _CONTROL.search(line.rstrip("\r")):  # a \r is the end of a line for ESPnet's and kaldiio's readers
            name = shorten(utt_id) or "blank line"
            problems.append(f"{where}: {name}: holds a control character; remove it")
        if line.endswith("\r"):
            name = shorten(utt_id) or "blank line"
            problems.append(f"{where}: {name}: ends with CRLF; convert the file with `sed -i 's/\\r$//'`")
        if not utt_id:
            problems.append(f"{where}: has no id (blank line or leading blank); remove or mend the line")
        elif utt_id in seen:
            problems.append(f"{where}: {shorten(utt_id)}: the id is there twice; remove one of the lines")
        else:
            seen.add(utt_id)
            entries.append((number, utt_id, value))
            if not value and not may_be_empty:
                problems.append(f"{where}: {shorten(utt_id)}: has no value; add it or remove the line")
    return entries, problems


def _split(line: str) -> tuple[str, str]:
    """`id value` at the first blank or tab; other Unicode blanks (U+3000, ...) belong to the value."""
    end = min((at for at in (line.find(" "), line.find("\t")) if at >= 0), default=len(line))
    return line[:end], line[end:].strip(" \t")


def parse_captions(value: str) -> list[str]:
    """The captions in a line's value, a JSON list.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('is not JSON; write id ["caption", ...]') from None
    if not isinstance(parsed, list) or not all(isinstance(one, str) for one in parsed):
        raise ValueError('is not a list of sentences; write id ["caption", ...]')
    if not parsed:
        raise ValueError("has an empty list of captions; add one or leave the utterance out of all files")
    if not all(one.strip() for one in parsed):
        raise ValueError("has an empty caption; add its words or remove it")
    return parsed


def good_lines(path: str | Path, may_be_empty: bool = False) -> list[Entry]:
    """The lines of `scan_lines` where nothing is wrong with any.

    Raises:
        SecError: the first problem, and how many more there are.
    """
    entries, problems = scan_lines(path, may_be_empty)
    if problems:
        more = f" ({len(problems) - 1} more such lines)" if len(problems) > 1 else ""
        raise SecError(problems[0] + more)
    return entries


def read_kaldi(path: str | Path) -> dict[str, str]:
    """Read an `id value` file; ids in the file's order.

    Raises:
        SecError: missing or empty file, BOM, CRLF, not UTF-8, an id twice or without a value.
    """
    return {utt_id: value for _, utt_id, value in good_lines(path)}


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Read a `captions` file: id -> its captions, at least one, none of them empty.

    Raises:
        SecError: as `read_kaldi`, and where a line is no JSON list of sentences.
    """
    captions = {}
    for number, utt_id, value in good_lines(path):
        try:
            captions[utt_id] = parse_captions(value)
        except ValueError as err:
            raise SecError(f"{path}:{number}: {shorten(utt_id)}: {err}") from None
    return captions


def write_kaldi(path: str | Path, mapping: Mapping[str, object]) -> None:
    """Write an `id value` file, sorted by id, at once or not at all.

    Raises:
        SecError: an id or a value that would not be read back as it is.
    """
    lines = []
    for utt_id in sorted(mapping):
        value = str(mapping[utt_id]).strip(" \t")
        if not utt_id or " " in utt_id or "\t" in utt_id or _CONTROL.search(utt_id):
            raise SecError(f"{path}: {shorten(utt_id)!r} cannot be an id: it is empty or holds blanks; rename it")
        if not value or _CONTROL.search(value):
            raise SecError(f"{path}: {shorten(utt_id)}: its value is empty or holds control characters; mend it")
        lines.append(f"{utt_id} {value}\n")
    with atomic_write(path) as stream:
        stream.writelines(lines)


def write_captions(path: str | Path, captions: Mapping[str, list[str]]) -> None:
    """Write a `captions` file (`id ["caption", ...]`), sorted by id, at once or not at all."""
    for utt_id, sentences in captions.items():
        if isinstance(sentences, str) or not sentences or not all(one.strip() for one in sentences):
            raise SecError(f"{path}: {shorten(utt_id)}: wants a list of captions, none empty; mend it")
    write_kaldi(path, {key: json.dumps(list(value), ensure_ascii=False) for key, value in captions.items()})


def write_json(path: str | Path, content: object) -> None:
    """Write a JSON file for people to read too, at once or not at all."""
    with atomic_write(path) as stream:
        json.dump(content, stream, ensure_ascii=False, indent=1)
        stream.write("\n")


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file of options.

    Raises:
        SecError: not YAML, or something other than `key: value` lines.
    """
    import yaml

    try:
        conf = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise SecError(f"{path}: not a YAML file: {' '.join(str(err).split())}") from err
    if not isinstance(conf or {}, dict):
        raise SecError(f"{path}: not a YAML file of options; write lines `key: value`")
    return conf or {}


def invert(utt2key: Mapping[str, str]) -> dict[str, str]:
    """Turn utt2spk into spk2utt (or utt2emo into emo2utt): key -> its ids in order, blanks between them."""
    grouped: dict[str, list[str]] = {}
    for utt_id in sorted(utt2key):
        grouped.setdefault(utt2key[utt_id], []).append(utt_id)
    return {key: " ".join(ids) for key, ids in grouped.items()}

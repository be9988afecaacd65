"""Checking a data directory: every bad line is listed, none is changed."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet2_secap.data.io import Entry, bad_id, parse_captions, scan_lines
from espnet2_secap.data.scp import is_command
from espnet2_secap.errors import SecError, shorten

UTT2 = re.compile(r"utt2[A-Za-z0-9_]+")
INVERSE = {"utt2spk": "spk2utt", "utt2emo": "emo2utt"}
PLAIN = ("wav.scp", "text", "captions")


def utterance_files(folder: str | Path) -> list[str]:
    """Names of the files in `folder` that have one line per utterance, wav.scp first."""
    there = {path.name for path in Path(folder).iterdir() if path.is_file()}
    return [name for name in PLAIN if name in there] + sorted(name for name in there if UTT2.fullmatch(name))


def validate_data_dir(folder: str | Path, require: Iterable[str] = (), allow_pipes: bool = False) -> list[str]:
    """List everything that is wrong with a data directory, as "file:line: id: what; what to do".

    Args:
        folder: data/<set> or dump/raw/<set>. wav.scp must exist; every other file is checked if it exists.
        require: names of files that must exist too (captions, text, utt2spk, spk2utt, utt2emo, ...).
        allow_pipes: whether wav.scp may hold commands.

    Returns:
        problems, none if the directory is correct.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [f"{folder}: no such folder; run stage 1 or check the path"]
    wanted = dict.fromkeys(["wav.scp", *require, *utterance_files(folder)])
    names = [name for name in wanted if name not in INVERSE.values()]
    problems: list[str] = []
    tables: dict[str, list[Entry]] = {}
    for name in names:
        tables[name], found = scan_lines(folder / name)
        problems += found
        check = CHECKS.get(name, _attribute if UTT2.fullmatch(name) else _nothing)
        pipes = _pipes(tables[name]) if name == "wav.scp" and not allow_pipes else ()
        for number, utt_id, what in [*_order(tables[name]), *check(tables[name]), *pipes]:
            problems.append(f"{folder / name}:{number}: {shorten(utt_id)}: {what}")
    for name in names[1:]:
        if tables[name]:
            problems += _same_ids(folder, name, tables)
    for forward, backward in INVERSE.items():
        if (folder / backward).is_file() or backward in require:
            problems += _inverse(folder, forward, backward, tables.get(forward, []))
    if (folder / "segments").exists():
        problems.append(f"{folder / 'segments'}: segments are not supported; cut the recordings and remove it")
    return problems


def require_good_data_dir(folder: str | Path, require: Iterable[str] = (), allow_pipes: bool = False) -> None:
    """Raise a SecError with the first problem of a data directory, and how to see the others."""
    problems = validate_data_dir(folder, require, allow_pipes)
    if len(problems) == 1:
        raise SecError(problems[0])
    if problems:
        raise SecError(f"{problems[0]} ({len(problems)} bad lines, see utils/validate_data_dir.sh {folder})")


Finding = tuple[int, str, str]  # line number, id, what is wrong


def _nothing(entries: list[Entry]) -> Iterator[Finding]:
    return iter(())


def _order(entries: list[Entry]) -> Iterator[Finding]:
    for (_, before, _), (number, after, _) in zip(entries, entries[1:], strict=False):
        if after < before:
            yield (
                number,
                after,
                f"not in byte order, it follows {shorten(before)}; sort the file (LC_ALL=C sort)",
            )


def _attribute(entries: list[Entry]) -> Iterator[Finding]:
    for number, utt_id, value in entries:
        if len(value.split()) > 1:
            yield number, utt_id, f"has {len(value.split())} values, must have one; remove the others"


def _captions(entries: list[Entry]) -> Iterator[Finding]:
    for number, utt_id, value in entries:
        try:
            if value:
                parse_captions(value)
        except ValueError as err:
            yield number, utt_id, str(err)


def _recordings(entries: list[Entry]) -> Iterator[Finding]:
    for number, utt_id, _ in entries:
        what = bad_id(utt_id)
        if what:
            yield number, utt_id, what


def _pipes(entries: list[Entry]) -> Iterator[Finding]:
    for number, utt_id, value in entries:
        if is_command(value):
            yield (
                number,
                utt_id,
                "is a command (pipe), which could do anything; give --allow_pipes true if you trust this file",
            )


CHECKS = {"wav.scp": _recordings, "captions": _captions, "text": _nothing}


def _same_ids(folder: Path, name: str, tables: dict[str, list[Entry]]) -> Iterator[str]:
    """Ids that only wav.scp or only the file has."""
    here, wav = ({utt_id: number for number, utt_id, _ in tables[one]} for one in (name, "wav.scp"))
    for utt_id, number in wav.items():
        if utt_id not in here:
            yield (
                f"{folder / name}: {shorten(utt_id)}: is missing, wav.scp has it in line {number};"
                " add it here or remove it from wav.scp"
            )
    for utt_id, number in here.items():
        if wav and utt_id not in wav:
            yield f"{folder / name}:{number}: {shorten(utt_id)}: is not in wav.scp; remove it or add its recording"


def _inverse(folder: Path, forward: str, backward: str, entries: list[Entry]) -> list[str]:
    """Lines by which spk2utt is not the inverse of utt2spk (emo2utt of utt2emo)."""
    path = folder / backward
    if not entries:
        return [f"{path}: needs a correct {forward}; fix or make {forward} first"]
    lines, problems = scan_lines(path)
    if not lines:
        return problems
    problems += [f"{path}:{number}: {shorten(key)}: {what}" for number, key, what in _order(lines)]
    utt2key = {utt_id: value for _, utt_id, value in entries}
    listed: set[str] = set()
    for number, key, value in lines:
        for utt_id in value.split():
            if utt_id in listed:
                what = f"lists {shorten(utt_id)} a second time"
            elif utt2key.get(utt_id) != key:
                what = f"lists {shorten(utt_id)}, which {forward} has under {utt2key.get(utt_id, 'no name')}"
            else:
                what = ""
            listed.add(utt_id)
            if what:
                problems.append(f"{path}:{number}: {shorten(key)}: {what}; make this file again from {forward}")
    for utt_id in utt2key:
        if utt_id not in listed:
            problems.append(f"{path}: {shorten(utt_id)}: is missing; make this file again from {forward}")
    return problems

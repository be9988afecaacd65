"""Checking a data directory: every bad line is listed, none is changed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.data.io import Entry, bad_id, parse_captions, same_but_for_form, scan_lines
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.segments import parse_segment
from espnet2_secap.errors import SecError, shorten

UTT2 = re.compile(r"utt2[A-Za-z0-9_]+")
INVERSE = {"utt2spk": "spk2utt", "utt2emo": "emo2utt"}
MISSING_TEXT = ("skip", "empty", "error")
PLAIN = ("wav.scp", "text", "captions")


def utterance_files(folder: str | Path) -> list[str]:
    """Names of the files in `folder` that have one line per utterance, wav.scp first."""
    there = {path.name for path in Path(folder).iterdir() if path.is_file()}
    return [name for name in PLAIN if name in there] + sorted(name for name in there if UTT2.fullmatch(name))


@dataclass(frozen=True)
class Leniency:
    """What a check of a data directory lets pass, beside what every one does.

    Args:
        missing_text: utterances that text lacks ("skip", "empty"); an utterance that is there without words is let
            pass by None too, as nothing said; "error" lets neither pass.
        no_text: text is not looked at.
        no_wav: wav.scp may be missing.
    """

    missing_text: str | None = None
    no_text: bool = False
    no_wav: bool = False


def validate_data_dir(
    folder: str | Path, require: Iterable[str] = (), allow_pipes: bool = False, leniency: Leniency | None = None
) -> list[str]:
    """List everything that is wrong with a data directory, as "file:line: id: what; what to do".

    Args:
        folder: data/<set> or dump/raw/<set>. wav.scp must exist; every other file is checked if it exists. Where there
            is a file `segments`, it has the utterances, and wav.scp the recordings that they are parts of.
        require: names of files that must exist too (captions, text, utt2spk, spk2utt, utt2emo, ...).
        allow_pipes: whether wav.scp may hold commands.
        leniency: what else is let pass.

    Returns:
        problems, none if the directory is correct.
    """
    folder, leniency = Path(folder), leniency or Leniency()
    if not folder.is_dir():
        return [f"{folder}: no such folder; run stage 1 or check the path"]
    found = [name for name in utterance_files(folder) if not (leniency.no_text and name == "text")]
    needed = [] if leniency.no_wav and "wav.scp" not in found else ["wav.scp"]
    if (folder / "segments").exists():
        needed.insert(0, "segments")
    wanted = dict.fromkeys([*(needed or found[:1] or ["utt2spk"]), *require, *found])
    utterances = next(iter(wanted))
    names = [name for name in wanted if name not in INVERSE.values() and not (leniency.no_text and name == "text")]
    problems: list[str] = []
    tables: dict[str, list[Entry]] = {}
    for name in names:
        tables[name], bad = scan_lines(folder / name, name == "text" and leniency.missing_text != "error")
        problems += bad
        check = CHECKS.get(name, _attribute if UTT2.fullmatch(name) else _nothing)
        pipes = _pipes(tables[name]) if name == "wav.scp" and not allow_pipes else ()
        for number, utt_id, what in [*_order(tables[name]), *check(tables[name]), *pipes]:
            problems.append(f"{folder / name}:{number}: {shorten(utt_id)}: {what}")
    for name in names:
        if tables[name] and name not in (utterances, "wav.scp"):
            may_lack = name == "text" and leniency.missing_text in ("skip", "empty")
            problems += _same_ids(folder, name, utterances, tables, may_lack)
    if utterances == "segments" and tables.get("wav.scp"):
        problems += _without_recording(folder / utterances, tables)
    for forward, backward in INVERSE.items():
        if (folder / backward).is_file() or backward in require:
            problems += _inverse(folder, forward, backward, tables.get(forward, []))
    return problems


def require_good_data_dir(
    folder: str | Path, require: Iterable[str] = (), allow_pipes: bool = False, leniency: Leniency | None = None
) -> None:
    """Raise a SecError with the first problem of a data directory, and how to see the others."""
    problems = validate_data_dir(folder, require, allow_pipes, leniency)
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
        if what and utt_id.isprintable():  # of others scan_lines says so
            yield number, utt_id, what


def _pipes(entries: list[Entry]) -> Iterator[Finding]:
    for number, utt_id, value in entries:
        if is_command(value):
            yield (
                number,
                utt_id,
                "is a command (pipe), which could do anything; give --allow_pipes true if you trust this file",
            )


def _segments(entries: list[Entry]) -> Iterator[Finding]:
    yield from _recordings(entries)
    for number, utt_id, value in entries:
        try:
            if value:
                parse_segment(value)
        except ValueError as err:
            yield number, utt_id, str(err)


CHECKS = {"wav.scp": _recordings, "segments": _segments, "captions": _captions, "text": _nothing}


def _same_ids(
    folder: Path, name: str, utterances: str, tables: dict[str, list[Entry]], may_lack: bool
) -> Iterator[str]:
    """Ids that only the file of the utterances (wav.scp, segments) or only this one has."""
    here, others = ({utt_id: number for number, utt_id, _ in tables[one]} for one in (name, utterances))
    hint = ", or see --missing_text" if name == "text" else ""
    alike = same_but_for_form(others.keys() - here.keys(), here.keys() - others.keys())
    if alike:
        one, other = min(alike.items())
        yield (
            f"{folder / name}:{here[other]}: {shorten(other)}: {len(alike)} ids stand there in another Unicode form"
            f" (NFC, NFD) than in {utterances} (line {others[one]}); write those of all files in one, best NFC"
        )
    others = {utt_id: number for utt_id, number in others.items() if utt_id not in alike}
    here = {utt_id: number for utt_id, number in here.items() if utt_id not in alike.values()}
    for utt_id, number in others.items():
        if utt_id not in here and not may_lack:
            yield (
                f"{folder / name}: {shorten(utt_id)}: is missing, {utterances} has it in line {number};"
                f" add it here or remove it from {utterances}{hint}"
            )
    for utt_id, number in here.items():
        if others and utt_id not in others:
            yield (
                f"{folder / name}:{number}: {shorten(utt_id)}: is not in {utterances}; remove it or add its recording"
            )


def _without_recording(path: Path, tables: dict[str, list[Entry]]) -> Iterator[str]:
    """Segments of recordings that wav.scp lacks."""
    recordings = {recording for _, recording, _ in tables["wav.scp"]}
    for number, utt_id, value in tables["segments"]:
        if value and value.split()[0] not in recordings:
            named = shorten(value.split()[0])
            yield f"{path}:{number}: {shorten(utt_id)}: wav.scp has no recording {named}; add it or remove the line"


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

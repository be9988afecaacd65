"""Answers of listeners: their form, and what of them counts."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError, few, shorten
from espnet2_secap.listen.design import Design
from espnet2_secap.values import Range, check_keys, checked

FORMAT = "sec_listen answers 1"
MOST_BYTES = 2**24  # of a file of answers
_HEAD = {
    "design": str,
    "group": Annotated[int, Range(least=1, most=10**6)],
    "listener": str,
    "session": str,
    "answers": list,
}
_FIELDS = {
    "item": str,
    "emotion": bool,
    "match": bool | None,
    "score": Annotated[int, Range(least=1, most=5)],
    "seconds": Annotated[float, Range(least=0, most=10**7)],
    "plays": Annotated[int, Range(least=0, most=10**6)],
    "at": Annotated[int, Range(least=0, most=10**15)],
}
_LONGEST = 64  # characters of a name


@dataclass(frozen=True)
class Answer:
    """What a listener said of an item.

    Args:
        item: its id.
        emotion: step 1, whether the sentence describes an emotion.
        match: step 2, whether that emotion matches the speech; None if step 1 is no.
        score: 1 if step 1 is no, 2 if step 2 is no, otherwise 3 to 5 by step 3, how well the intensity matches.
        seconds: for which the item was on the screen.
        plays: how often the recording was started.
        at: time of the last change, milliseconds since 1970.
    """

    item: str
    emotion: bool
    match: bool | None
    score: int
    seconds: float
    plays: int
    at: int


@dataclass
class Sheet:
    """The answers of one listener.

    Args:
        listener: the code.
        group: of the design.
        answers: item -> answer.
        session: of the browser.
        source: file or database, for messages.
    """

    listener: str
    group: int
    answers: dict[str, Answer] = field(default_factory=dict)
    session: str = ""
    source: str = ""


def check_answer(where: str, content: Any) -> Answer:
    """One answer.

    Raises:
        SecError: a key is missing or unknown, a value is of the wrong type or out of range, or the score does not
            follow from the steps.
    """
    if not isinstance(content, dict):
        raise SecError(f"{where}: is not an object")
    check_keys(where, content, _FIELDS)
    if missing := sorted(_FIELDS.keys() - content.keys()):
        raise SecError(f"{where}: {missing[0]} is missing")
    answer = Answer(**{name: checked(f"{where}: {name}", content[name], hint) for name, hint in _FIELDS.items()})
    if len(answer.item) > _LONGEST:
        raise SecError(f"{where}: item: is too long")
    allowed = {(False, None): (1,), (True, False): (2,), (True, True): (3, 4, 5)}.get((answer.emotion, answer.match))
    if allowed is None or answer.score not in allowed:
        steps = f"emotion {answer.emotion}, match {answer.match}"
        raise SecError(f"{where}: score {answer.score} does not follow from the steps ({steps})")
    return answer


def check_sheet(where: str, content: Any, design: Design) -> tuple[Sheet, list[Any]]:
    """The head of a file of answers, and its answers, not yet checked.

    Raises:
        SecError: it is no such file, or of another design or group.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SecError(f"{where}: is no file of answers ({FORMAT}); ask the listener for the file that the page saves")
    content = {name: value for name, value in content.items() if name != "format"}
    check_keys(where, content, _HEAD)
    if missing := sorted(_HEAD.keys() - content.keys()):
        raise SecError(f"{where}: {missing[0]} is missing; ask the listener for the file that the page saves")
    head = {name: checked(f"{where}: {name}", content[name], hint) for name, hint in _HEAD.items()}
    for name in ("design", "listener", "session"):
        if len(head[name]) > _LONGEST or not head[name].isprintable():
            raise SecError(f"{where}: {name} {shorten(head[name])!r}: is too long or not printable")
    if head["design"] != design.id:
        raise SecError(
            f"{where}: is from another page (design {shorten(head['design'], 20)}, here {design.id}); analyse it with"
            " the folder of that page"
        )
    if head["group"] > len(design.groups):
        raise SecError(f"{where}: group {head['group']}: the design has {len(design.groups)} groups")
    return Sheet(head["listener"], head["group"], {}, head["session"], where), head["answers"]


def read_sheet(path: str | Path, design: Design, note: Callable[[str], None]) -> Sheet | None:
    """The answers in a file that the page has saved.

    A file that cannot be used is left out with one line; of others, answers that cannot be used.

    Args:
        path: the file.
        design: of the test.
        note: is told each thing that does not count.
    """
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise SecError(f"{path}: is larger than {MOST_BYTES >> 20} MB; give files that the page has saved")
        text = read_text(path)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise SecError(
                f"{path}: is cut short or not JSON; ask the listener to open the page and save the answers again"
            ) from None
        sheet, answers = check_sheet(str(path), content, design)
    except SecError as err:
        note(f"{err} (left out)")
        return None
    items, foreign, bad, twice = design.asked(sheet.group), [], [], []
    for at, one in enumerate(answers, 1):
        try:
            answer = check_answer(f"answer {at}", one)
        except SecError as err:
            bad.append(str(err))
            continue
        if answer.item not in items:
            foreign.append(shorten(answer.item, 20))
        elif answer.item in sheet.answers:
            twice.append(answer.item)
            sheet.answers[answer.item] = max(sheet.answers[answer.item], answer, key=lambda one: one.at)
        else:
            sheet.answers[answer.item] = answer
    for found, what in (
        (bad, "answers cannot be used and are left out"),
        (foreign, f"answers to items that group {sheet.group} does not have are left out"),
        (twice, "answers are there twice; the later one counts"),
    ):
        if found:
            note(f"{path}: {len(found)} {what}: {few(found)}")
    return sheet


def merge(sheets: Iterable[Sheet], note: Callable[[str], None]) -> list[Sheet]:
    """One sheet per listener.

    Files of one session are saves of the same page: of each item the latest answer counts. Of several sessions under
    one code, a listener who began again, the one with the most answers counts, of equals the earlier one.
    """
    sessions: dict[tuple[str, int], Sheet] = {}
    for sheet in sheets:
        known = sessions.get((sheet.session, sheet.group))
        if known is None:
            sessions[sheet.session, sheet.group] = sheet
            continue
        note(f"{sheet.source}: is from the same browser session as {known.source}; the latest answers count, once")
        for item, answer in sheet.answers.items():
            if item not in known.answers or answer.at > known.answers[item].at:
                known.answers[item] = answer
    listeners: dict[str, Sheet] = {}
    for sheet in sessions.values():
        known = listeners.setdefault(sheet.listener, sheet)
        if known is not sheet:
            best = max(known, sheet, key=lambda one: (len(one.answers), -_begun(one)))
            other = sheet if best is known else known
            listeners[sheet.listener] = best
            note(
                f"{other.source}: listener {sheet.listener} has answered twice; {best.source} counts, with more answers"
            )
    return list(listeners.values())


def _begun(sheet: Sheet) -> int:
    return min((answer.at for answer in sheet.answers.values()), default=0)


def usable(
    sheets: Iterable[Sheet],
    design: Design,
    least: float,
    note: Callable[[str], None],
    known: Mapping[str, int] | None = None,
) -> list[Sheet]:
    """The sheets that count: of known listeners, with at least a share `least` of the answers that were asked for.

    Args:
        sheets: one per listener.
        design: of the test.
        least: 0 to 1. What an unfinished listener has answered counts, if it is as much as this.
        note: is told each thing that does not count.
        known: listener -> group; None: all are.
    """
    kept = []
    for sheet in sheets:
        asked, given = len(design.asked(sheet.group)), len(sheet.answers)
        if known is not None and sheet.listener not in known:
            note(f"{sheet.source}: listener {shorten(sheet.listener)!r} is not known; left out")
        elif known is not None and known[sheet.listener] != sheet.group:
            note(f"{sheet.source}: listener {sheet.listener} belongs to group {known[sheet.listener]}; left out")
        elif given < max(1, least * asked):
            note(f"{sheet.source}: listener {sheet.listener} has given {given} of {asked} answers; left out")
        else:
            if given < asked:
                note(f"{sheet.source}: listener {sheet.listener} has given {given} of {asked} answers; they are used")
            kept.append(sheet)
    return kept


def content_of(sheet: Sheet, design: Design) -> dict:
    """What `read_sheet` reads."""
    return {
        "format": FORMAT, "design": design.id, "group": sheet.group, "listener": sheet.listener,
        "session": sheet.session, "answers": [vars(answer) for answer in sheet.answers.values()],
    }  # fmt: skip

"""Preference pairs in the layouts of other tools.

name            a row
trl             {"prompt": text, "chosen": text, "rejected": text}; or each a list of {"role", "content"}, whose content
                may be a list of {"type": "text", "text"} and others; the prompt may stand before both answers instead
llama_factory   {"instruction", "input", "chosen", "rejected"}; or {"conversations": [{"from", "value"}], "chosen",
                "rejected"}; with audio in "audios"
ms_swift        {"messages": [{"role", "content"}], "rejected_response"} or "rejected_messages"; audio in "audios"
emoprefer       CSV name,a1,a2,preference: two descriptions, and which one is preferred: a1 or a2; others are ties

JSON is one list, or one object a line. Fields id, type and margin are written besides, which these tools pass over, and
read where they are.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet2_secap.data.io import atomic_write
from espnet2_secap.data.preferences import TYPES, Expected, Pair, essence
from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError, shorten

FORMATS = ("trl", "llama_factory", "ms_swift", "emoprefer")
LAYOUTS = ("trl", "trl_conversational", "llama_factory", "llama_factory_sharegpt", "ms_swift", "emoprefer")
IDS = ("id", "utt_id", "utt", "name", "key")  # fields with an utterance's id, the first that is there
HEADER = ["name", "a1", "a2", "preference"]
TIES = ("", "same", "tie", "none", "equal", "both", "neither", "0")
_AUDIO = re.compile(r"<audio>\s*")
_ANSWERS = ("assistant", "gpt", "model")


class _Fault(Exception):
    """What is wrong with a row, and what to do."""


@dataclass(frozen=True)
class Imported:
    """What a file gave.

    Args:
        pairs: in the file's order.
        problems: each row that could not be used, as "file:row: what; what to do".
        ties: number of rows without a preference.
        format: of FORMATS.
    """

    pairs: list[Pair]
    problems: list[str]
    ties: int
    format: str


def import_pairs(
    path: str | Path,
    format: str | None = None,
    prompt: str = "",
    type: str = "quality",
    id_field: str | None = None,
    expected: Expected | None = None,
) -> Imported:
    """Read pairs in another layout.

    Args:
        path: the file.
        format: of FORMATS; told by the content if None.
        prompt: the instruction of rows that have none.
        type: of rows that do not say it.
        id_field: the field with the id; if None one of IDS, else the name of the audio file without its ending.
        expected: what the pairs must fit.

    Raises:
        SecError: no such file, not UTF-8, or a file of no such layout.
    """
    path, expected = Path(path), expected or Expected()
    content = read_text(path)
    rows, unit = _rows(path, content)
    first = next((row for _, row in rows if isinstance(row, Mapping)), {})
    found = format or ("emoprefer" if content.lstrip()[0] not in "{[" else _format_of(first))
    if found is None:
        raise SecError(
            f"{path}: is none of {', '.join(FORMATS)} (fields: {shorten(', '.join(first)) or 'none'});"
            " convert it to JSON lines of prompt, chosen, rejected"
        )
    pairs: list[Pair] = []
    problems, ties, seen = [], 0, {}
    for number, row in rows:
        where = f"{path}:{unit}{number}"
        try:
            if not isinstance(row, Mapping):
                raise _Fault("is not a JSON object; write one for each pair" if row is not None else "is not JSON")
            texts = _READ[found](row)
            if texts is None:
                ties += 1
                continue
            pair = _pair(row, texts, prompt, type, id_field)
            fault = expected.fault(pair)
            key = pair.id, frozenset((essence(pair.chosen), essence(pair.rejected)))
            if fault is None and seen.setdefault(key, number) != number:
                fault = f"has the captions of row {seen[key]}; remove one of the two"
            if fault:
                raise _Fault(f"{shorten(pair.id) or 'no id'}: {fault}")
            pairs.append(pair)
        except _Fault as err:
            problems.append(f"{where}: {err}")
    if not pairs and not problems:
        what = f"all its {ties} rows are ties" if ties else "is empty"
        raise SecError(f"{path}: {what}; give a file with preferences")
    return Imported(pairs, problems, ties, found)


def _rows(path: Path, content: str) -> tuple[list[tuple[int, Any]], str]:
    """Number and content of each row (None: no JSON), and what is counted: lines, or rows of a list."""
    start = content.lstrip()[:1]
    if not start:
        raise SecError(f"{path}: is empty; give a file with preferences")
    if start not in "{[":
        return _csv(path, content), ""
    if start == "[":
        whole = _parsed(content)
        if not isinstance(whole, list):
            raise SecError(f"{path}: is not JSON; write a list of objects, or one object a line")
        return list(enumerate(whole, 1)), "row "
    whole = _parsed(content)
    if isinstance(whole, dict):
        return [(1, whole)], ""
    return [(at, _parsed(line)) for at, line in enumerate(content.split("\n"), 1) if line.strip()], ""


def _csv(path: Path, content: str) -> list[tuple[int, dict]]:
    """Number of the last line of each row, and its fields; none where they are not four."""
    reader = csv.reader(io.StringIO(content))
    try:
        table = [(reader.line_num, row) for row in reader if row]
    except csv.Error as err:
        raise SecError(f"{path}:{reader.line_num}: is not CSV ({err}); write it again") from None
    header = [name.strip().lower() for name in table[0][1]]
    if header != HEADER:
        raise SecError(
            f"{path}:1: is neither JSON nor CSV with the columns {', '.join(HEADER)} in this order, but"
            f" {shorten(', '.join(table[0][1]))}; convert it"
        )
    return [(line, dict(zip(HEADER, row, strict=True)) if len(row) == len(HEADER) else {}) for line, row in table[1:]]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _format_of(row: Mapping) -> str | None:
    """The layout of a row by its fields."""
    if list(row) == HEADER:
        return "emoprefer"
    if "messages" in row and ("rejected_response" in row or "rejected_messages" in row):
        return "ms_swift"
    if "chosen" in row and "rejected" in row:
        return "llama_factory" if "conversations" in row or "instruction" in row else "trl"
    return None


Texts = tuple[str, str, str]  # prompt, chosen, rejected


def _of_trl(row: Mapping) -> Texts:
    chosen, rejected = _get(row, "chosen"), _get(row, "rejected")
    if isinstance(chosen, str):
        prompt = row.get("prompt", "")
        return (prompt if isinstance(prompt, str) else _last_user(prompt)), chosen, _text(row, "rejected")
    turns = row.get("prompt")
    prompt = turns if isinstance(turns, str) else _last_user(turns if turns is not None else chosen)
    return prompt, _answer(chosen, "chosen"), _answer(rejected, "rejected")


def _of_llama_factory(row: Mapping) -> Texts:
    if "conversations" in row:
        turns = row["conversations"]
        return _last_user(turns), _answer([row.get("chosen")], "chosen"), _answer([row.get("rejected")], "rejected")
    prompt = "\n".join(_text(row, name) for name in ("instruction", "input") if row.get(name))
    return prompt, _text(row, "chosen"), _text(row, "rejected")


def _of_ms_swift(row: Mapping) -> Texts:
    turns = _get(row, "messages")
    prompt, chosen = _last_user(turns), _answer(turns, "messages")
    if "rejected_response" in row:
        return prompt, chosen, _text(row, "rejected_response")
    return prompt, chosen, _answer(_get(row, "rejected_messages"), "rejected_messages")


def _of_emoprefer(row: Mapping) -> Texts | None:
    if list(row) != HEADER:
        raise _Fault(f"has not the four fields {', '.join(HEADER)}; quote texts that have a comma")
    choice = row["preference"].strip().lower()
    if choice in TIES:
        return None
    if choice not in ("a1", "a2"):
        raise _Fault(f"{shorten(row['name'])}: preference {shorten(repr(choice))}: must be a1 or a2, or same for a tie")
    first, second = row["a1"], row["a2"]
    return ("", first, second) if choice == "a1" else ("", second, first)


_READ: dict[str, Callable[[Mapping], Texts | None]] = {
    "trl": _of_trl,
    "llama_factory": _of_llama_factory,
    "ms_swift": _of_ms_swift,
    "emoprefer": _of_emoprefer,
}


def _get(row: Mapping, name: str) -> Any:
    if name not in row:
        raise _Fault(f"lacks {name} (fields: {shorten(', '.join(row))}); add it")
    return row[name]


def _text(row: Mapping, name: str) -> str:
    value = _get(row, name)
    if not isinstance(value, str):
        raise _Fault(f"{name} {shorten(repr(value))}: must be text")
    return value


def _turns(turns: Any) -> list[tuple[str, str]]:
    """Role and text of each turn of a conversation, in either way of writing them."""
    output = []
    for turn in turns if isinstance(turns, Sequence) and not isinstance(turns, str) else [None]:
        if not isinstance(turn, Mapping) or not (
            {"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys()
        ):
            raise _Fault(f"{shorten(repr(turn))}: is not a turn {{role, content}} or {{from, value}}")
        role, content = (turn["role"], turn["content"]) if "role" in turn else (turn["from"], turn["value"])
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
        if not isinstance(content, str):
            raise _Fault(f"{shorten(repr(content))}: must be text, or a list with parts of the type text")
        output.append((role, content))
    return output


def _last_user(turns: Any) -> str:
    said = [text for role, text in _turns(turns) if role in ("user", "human")]
    return said[-1] if said else ""


def _answer(turns: Any, name: str) -> str:
    found = _turns(turns)
    if not found or found[-1][0] not in _ANSWERS:
        raise _Fault(
            f"{name}: its last turn is not an answer of the {_ANSWERS[0]}; remove the row, or the turns behind"
        )
    return found[-1][1]


def _pair(row: Mapping, texts: Texts, prompt: str, type: str, id_field: str | None) -> Pair:
    own = _AUDIO.sub("", texts[0]).strip() or prompt
    kind = row.get("type", type)
    margin = row.get("margin", 0.0)
    margin = float(margin) if isinstance(margin, (int, float)) and not isinstance(margin, bool) else 0.0
    return Pair(_id(row, id_field), own, texts[1], texts[2], kind if kind in TYPES else type, "file", margin)


def _id(row: Mapping, id_field: str | None) -> str:
    name = id_field or next((name for name in IDS if name in row), None)
    if name is not None:
        value = row.get(name)
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise _Fault(f"has no text in the field {name}, the id; give the right one with --id_field")
        return str(value)
    audios = row.get("audios") or row.get("audio")
    audio = audios[0] if isinstance(audios, list) else audios
    audio = audio.get("path") if isinstance(audio, Mapping) else audio
    if not isinstance(audio, str):
        raise _Fault(f"has no id (one of {', '.join(IDS)}, or a file in audios); add it, or give --id_field")
    return Path(audio.replace("\\", "/")).stem


# ---- export


def export_pairs(path: str | Path, pairs: Iterable[Pair], layout: str, audio: Mapping[str, str] | None = None) -> int:
    """Write pairs in another layout; returns how many.

    Args:
        layout: of LAYOUTS.
        audio: id -> path of its recording, put into "audios"; none if None.

    Raises:
        SecError: a recording is missing.
    """
    rows = [_exported(pair, layout, audio) for pair in pairs]
    with atomic_write(path) as stream:
        if layout == "emoprefer":
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(HEADER)
            table.writerows(rows)
        elif layout.startswith("llama_factory"):  # which reads whole lists
            json.dump(rows, stream, ensure_ascii=False, indent=1)
            stream.write("\n")
        else:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def _exported(pair: Pair, layout: str, audio: Mapping[str, str] | None) -> dict | list:
    if layout == "emoprefer":
        # Which of the two comes first is drawn by the id, so that no place is preferred.
        first = hashlib.sha256(f"{pair.id} {pair.chosen}".encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0
        return [pair.id, *((pair.chosen, pair.rejected, "a1") if first else (pair.rejected, pair.chosen, "a2"))]
    if audio is not None and pair.id not in audio:
        raise SecError(f"{pair.id}: has no recording in the wav.scp of --audio_dir; give the folder that has it")
    prompt = f"<audio>{pair.prompt}" if audio is not None and not layout.startswith("trl") else pair.prompt
    row: dict[str, Any] = {"id": pair.id}
    user, good = {"role": "user", "content": prompt}, {"role": "assistant", "content": pair.chosen}
    bad = {"role": "assistant", "content": pair.rejected}
    if layout == "trl":
        row |= {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    elif layout == "trl_conversational":
        row |= {"prompt": [user], "chosen": [good], "rejected": [bad]}
    elif layout == "llama_factory":
        row |= {"instruction": prompt, "input": "", "chosen": pair.chosen, "rejected": pair.rejected}
    elif layout == "llama_factory_sharegpt":
        row["conversations"] = [{"from": "human", "value": prompt}]
        row |= {"chosen": {"from": "gpt", "value": pair.chosen}, "rejected": {"from": "gpt", "value": pair.rejected}}
    else:
        row |= {"messages": [user, good], "rejected_response": pair.rejected}
    row |= {"audios": [audio[pair.id]]} if audio is not None else {}
    return row | {"type": pair.type, "margin": round(pair.margin, 6)}

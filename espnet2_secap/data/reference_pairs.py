"""Preference pairs with the log-probabilities that a reference model gives them, for training: Kaldi-style lines

    u1 [{"prompt": "请描述...", "chosen": "...", "rejected": "...", "chosen_reference": -31.25, ...}, ...]

One line for each utterance that has pairs, a JSON list of `ReferencePair`. sec_reference writes such files.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from espnet2_secap.data.io import is_visible, list_value, read_parsed, write_kaldi
from espnet2_secap.errors import shorten

MADE_BY = "make the file with sec_reference"


@dataclass(frozen=True)
class ReferencePair:
    """Two captions of an utterance, and what the reference says of them.

    Args:
        prompt: the instruction behind which the reference has read them.
        chosen, rejected: the captions.
        chosen_reference, rejected_reference: their log-probabilities in nats, summed over the tokens.
        chosen_tokens, rejected_tokens: how many tokens these are, the end token included.
        type, source, margin: those of the pair (data/preferences.py).
    """

    prompt: str
    chosen: str
    rejected: str
    chosen_reference: float
    rejected_reference: float
    chosen_tokens: int
    rejected_tokens: int
    type: str
    source: str
    margin: float


NUMBERS = ("chosen_reference", "rejected_reference", "margin")
FIELDS = {field.name: field.type for field in fields(ReferencePair)}


def parse_pairs(value: str) -> list[ReferencePair]:
    """The pairs of a line's value.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    try:
        rows = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(f"is not JSON; {MADE_BY}") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"is not a list of one or more pairs; {MADE_BY}")
    return [_parsed(row) for row in rows]


def _parsed(row: Mapping[str, Any]) -> ReferencePair:
    if lacking := [name for name in ("chosen_reference", "rejected_reference") if name not in row]:
        raise ValueError(f"has pairs without {' and '.join(lacking)}, the reference's log-probabilities; {MADE_BY}")
    if set(row) != set(FIELDS):
        other = sorted(set(row) ^ set(FIELDS))
        what = "lacks" if other[0] in FIELDS else "has the unknown field"
        raise ValueError(f"{what} {shorten(other[0])}; {MADE_BY}")
    for name, value in row.items():
        kind = {"str": str, "int": int, "float": (int, float)}[getattr(FIELDS[name], "__name__", FIELDS[name])]
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{name} {shorten(repr(value))}: is no {'text' if kind is str else 'number'}; {MADE_BY}")
    if bad := next((name for name in NUMBERS if not math.isfinite(row[name])), None):
        raise ValueError(f"{bad} {row[bad]}: is not finite; {MADE_BY}")
    if bad := next((name for name in ("chosen", "rejected") if not is_visible(row[name])), None):
        raise ValueError(f"{bad} is empty; {MADE_BY}")
    return ReferencePair(**row)


def read_reference_pairs(path: str | Path) -> dict[str, list[ReferencePair]]:
    """Read a file of pairs with references: id -> its pairs, at least one.

    Raises:
        SecError: as `read_kaldi`, and where a line is no list of pairs.
    """
    return read_parsed(path, parse_pairs)


def write_reference_pairs(path: str | Path, pairs: Mapping[str, Sequence[ReferencePair]]) -> None:
    """Write such a file, sorted by id, at once or not at all."""
    write_kaldi(path, {utt: list_value(map(asdict, some)) for utt, some in pairs.items()})

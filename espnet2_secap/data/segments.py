"""Utterances that are parts of recordings, by Kaldi's `segments`: `utterance recording start end`, in seconds."""

from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.data.io import read_parsed
from espnet2_secap.errors import shorten

TO_THE_END = -1.0


@dataclass(frozen=True)
class Segment:
    """A part of a recording: its id in wav.scp, start and end in seconds; an end of -1 is the recording's."""

    recording: str
    start: float
    end: float


def parse_segment(value: str) -> Segment:
    """The value of a line of `segments`: `recording start end`.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    fields = value.split()
    if len(fields) != 3:
        raise ValueError(f"has {len(fields)} values, must be `utterance recording start end`; fix the line")
    try:
        start, end = map(float, fields[1:])
    except ValueError:
        raise ValueError(f"{shorten(' '.join(fields[1:]))} are not a start and an end in seconds; fix them") from None
    if not (0 <= start < float("inf") and (end == TO_THE_END or start < end < float("inf"))):
        raise ValueError(
            f"start {fields[1]} and end {fields[2]} must be seconds with 0 <= start < end (or end -1, the"
            " recording's); fix them"
        )
    return Segment(fields[0], start, end)


def read_segments(data_dir: str | Path) -> dict[str, Segment] | None:
    """id -> segment of a data directory, or None if its utterances are whole recordings.

    Raises:
        SecError: a bad line.
    """
    path = Path(data_dir) / "segments"
    if not path.is_file():
        return None
    return read_parsed(path, parse_segment)

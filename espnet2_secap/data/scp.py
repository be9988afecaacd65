"""Entries that wav.scp and feats.scp may have: files, and in arks plain matrices.

Kaldi's readers run an entry that begins or ends with `|` as a shell command, and kaldiio unpickles an ark that says so.
A data directory or a dump can come from anyone, so both are refused before kaldiio or ESPnet reads them.
"""

import re
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from espnet2_secap.data.io import bad_id, good_lines, read_captions
from espnet2_secap.errors import SecError, shorten

_PLACE = re.compile(r"([^|].*):([0-9]{1,18})")  # FILE:OFFSET
_MATRIX = (b"\0B", b"NPY")  # Kaldi's binary matrices; NumPy's arrays, which kaldiio reads without pickles


def is_command(value: str) -> bool:
    """Whether Kaldi's readers would run it."""
    return value.strip().startswith("|") or value.strip().endswith("|")


def read_matrix(entry: str) -> np.ndarray:
    """The matrix (T, D) of an entry of feats.scp, float32.

    Raises:
        SecError: the entry is not FILE:OFFSET of a matrix, or has values that are not finite.
        OSError: the file cannot be read.
    """
    from kaldiio.matio import read_kaldi

    path, offset = _place(entry)
    with open(path, "rb") as ark:
        _check_kind(ark, offset)
        try:
            matrix = np.array(read_kaldi(ark), dtype=np.float32)
        except (ValueError, TypeError, AssertionError, MemoryError, EOFError, struct.error) as err:
            raise SecError(f"is an incomplete or broken matrix ({' '.join(str(err).split())[:100]})") from err
    if matrix.ndim != 2:
        raise SecError(f"has {matrix.ndim} dimensions, expected frames x values")
    if not np.isfinite(matrix).all():
        raise SecError("has values that are not finite (NaN or infinity)")
    return matrix


def check_feats_scp(path: str | Path) -> None:
    """Check that every entry of a feats.scp is FILE:OFFSET of a matrix; only its first bytes are read.

    Raises:
        SecError: file, line and id of the first entry that is not.
    """
    ark, name = None, None
    try:
        for number, utt_id, entry in good_lines(path):
            try:
                what = bad_id(utt_id)  # kaldiio parts id and entry at any blank of Unicode
                if what:
                    raise SecError(what)
                file, offset = _place(entry)
                if file != name:
                    if ark is not None:
                        ark.close()
                    ark, name = open(file, "rb"), file
                _check_kind(ark, offset)
            except (SecError, OSError) as err:
                said = err.strerror if isinstance(err, OSError) else str(err)
                where = f"{path}:{number}: {shorten(utt_id)}: {shorten(entry, 500)}"
                raise SecError(f"{where}: {said}; run stage 3 again") from err
    finally:
        if ark is not None:
            ark.close()


def check_wav_scp(path: str | Path) -> None:
    """Check that no entry of a wav.scp is a command.

    Raises:
        SecError: file, line and id of the first entry that is.
    """
    for number, utt_id, entry in good_lines(path):
        what = bad_id(utt_id)
        if what is None and is_command(entry):
            what = "is a command (pipe), which is not run here; run stage 2 again"
        if what:
            raise SecError(f"{path}:{number}: {shorten(utt_id)}: {what}")


def check_text(path: str | Path, name: str = "text") -> None:
    """Check that ESPnet's reader finds the same ids in a file of texts or labels as ours, and captions where it should.

    Raises:
        SecError: the first line that it would read in another way (byte order mark, other blanks behind the id, ...).
    """
    if not Path(path).is_file():
        return  # ESPnet's task says so, with the option
    read_captions(path) if name == "caption" else good_lines(path, may_be_empty=True)


CHECKS = {"kaldi_ark": check_feats_scp, "sound": check_wav_scp, "text": check_text}


def check_training_data(data: Iterable[tuple[str, str, str]]) -> None:
    """Check what ESPnet's dataset is given, before it reads it.

    Args:
        data: file, name and type, as in --train_data_path_and_name_and_type.

    Raises:
        SecError: a type that is not checked here, or what the checks find.
    """
    for path, name, kind in data:
        if kind not in CHECKS:
            raise SecError(f"{path},{name},{kind}: expected one of the types {', '.join(CHECKS)}")
        CHECKS[kind](path, *([name] if kind == "text" else []))


def _place(entry: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(entry)
    if is_command(entry):
        raise SecError("is a command (pipe), which is never run")
    if match is None or not entry.isprintable():
        raise SecError("is not FILE:OFFSET of an ark")
    return match[1], int(match[2])


def _check_kind(ark, offset: int) -> None:
    """Leave the file at `offset` where a matrix begins there."""
    ark.seek(offset)
    start = ark.read(max(map(len, _MATRIX)))
    if start.startswith(b"PKL"):
        raise SecError("holds a pickle, which could run code and is not read")
    if not start.startswith(_MATRIX):
        raise SecError("holds no matrix")
    ark.seek(offset)

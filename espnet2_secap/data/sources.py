"""The recordings that a person names on a command line: files, folders of files, and Kaldi's wav.scp."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.data.ffmpeg import ENDINGS
from espnet2_secap.data.io import bad_id, good_lines
from espnet2_secap.data.scp import check_wav_scp
from espnet2_secap.errors import SecError, shorten

SOUND = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .mp2 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .voc .nist .sph".split()
)  # that libsndfile reads
LONGEST_ID = 150  # bytes; the times of a piece are added, and data.io.bad_id takes 200


@dataclass(frozen=True)
class Recording:
    """One recording: its id, and its file as the person named it."""

    id: str
    path: str


def find_recordings(names: Iterable[str]) -> tuple[list[Recording], list[str]]:
    """List what is named, in this order; a folder's files are sorted by path.

    Args:
        names: files; folders, searched with their subfolders for endings of audio and video files, or with a wav.scp
            in them; files that end with .scp, with lines `id path`. Files that do not exist are listed too.

    Returns:
        the recordings, whose ids differ: those of a wav.scp, else made from the file's name (see `make_id`); notes on
        what was left out.

    Raises:
        SecError: no names, a folder without recordings, a broken wav.scp or one with commands, two files of one id.
    """
    found: dict[str, Recording] = {}
    notes: list[str] = []
    for name in names:
        for recording in _found_in(name, notes):
            other = found.setdefault(recording.id, recording)
            if os.path.realpath(other.path) != os.path.realpath(recording.path):
                raise SecError(
                    f"{shorten(other.path, 500)} and {shorten(recording.path, 500)} would both have the id "
                    f"{recording.id}; rename one of them, or list them with ids of your own in a wav.scp"
                )
            if other is not recording:
                notes.append(f"{shorten(recording.path, 500)}: is named twice, captioned once")
    if not found:
        raise SecError("no recordings are named; give audio files, folders or a wav.scp")
    return list(found.values()), notes


def _found_in(name: str, notes: list[str]) -> list[Recording]:
    if os.path.isdir(name):
        return _of_scp(Path(name) / "wav.scp") if (Path(name) / "wav.scp").is_file() else _of_folder(name, notes)
    if name.endswith(".scp"):
        return _of_scp(Path(name))
    return [Recording(make_id(Path(name).stem), name)]


def _of_scp(path: Path) -> list[Recording]:
    if (path.parent / "segments").exists():
        raise SecError(
            f"{path.parent / 'segments'}: segments are not cut here; format the set (stage 2), then give dump/raw/<set>"
        )
    check_wav_scp(path)
    return [Recording(utt_id, entry) for _, utt_id, entry in good_lines(path)]


def _of_folder(name: str, notes: list[str]) -> list[Recording]:
    """Its audio files and those of its subfolders; hidden files and folders are skipped."""
    files = []
    for top, folders, inside in os.walk(name, onerror=_raise):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        files += [os.path.join(top, file) for file in inside if not file.startswith(".")]
    audio = sorted(file for file in files if Path(file).suffix.lower() in SOUND | ENDINGS)
    if not audio:
        others = f"; none of its {len(files)} files ends like one (.wav, .flac, .mp3, .m4a, ...)" if files else ""
        raise SecError(f"{name}: the folder has no recordings{others}; give a folder with audio files")
    if len(files) > len(audio):
        notes.append(f"{name}: skipped {len(files) - len(audio)} files that do not end like audio or video files")
    return [Recording(make_id(os.path.splitext(os.path.relpath(file, name))[0]), file) for file in audio]


def _raise(err: OSError) -> None:
    raise err


def make_id(name: str) -> str:
    """An id for a file's name (without its ending): slashes become "-", blanks and unprintable characters "_".

    A name of more than 150 bytes is cut, and a hash of the whole is added.

    >>> make_id("day 1/a b")
    'day_1-a_b'
    """
    made = "".join("_" if c.isspace() or not c.isprintable() else c for c in re.sub(r"[/\\]", "-", name))
    made = re.sub(r"^[-.]", "_", made) or "_"
    content = made.encode("utf-8")
    if len(content) > LONGEST_ID:
        end = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
        made = f"{content[: LONGEST_ID - 9].decode('utf-8', 'ignore')}-{end}"
    assert bad_id(made) is None, made
    return made

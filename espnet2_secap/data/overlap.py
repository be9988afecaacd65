"""What the sets of a corpus have in common: recordings, ids, speakers, and labels in several spellings.

A recording that is in the training and in a test set makes scores look better than they are. Recordings are compared
by content, after stage 2: the same samples in another file, or under another id, are found; another encoding (MP3 and
WAV) of the same speech is not.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from espnet2_secap.data.io import atomic_write, read_kaldi
from espnet2_secap.data.labels import read_labels, spelling_warnings
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import few
from espnet2_secap.process.jobs import file_digest

PROBE = 4096  # bytes from the middle of a file that are compared before the whole of it
HEADER = "what\tset\tname\tother_set\tother_name\n"
Row = tuple[str, str, str, str, str]  # "recording", "id" or "speaker"; set and name here, set and name there


def shared_recordings(first: str | Path, second: str | Path) -> dict[str, str]:
    """Utterances of `second` whose audio is in `first` too -> its id there.

    Args:
        first, second: folders dump/raw/<set>.

    Raises:
        SecError: wav.scp or utt2num_samples is missing or broken. OSError: audio cannot be read.
    """
    here, there = Utterances(second, raw=True), Utterances(first, raw=True)
    by_length: dict[int, list[str]] = {}
    for utt_id in there.ids:
        by_length.setdefault(there.lengths[utt_id], []).append(utt_id)
    middle, whole = cache(_middle), cache(file_digest)
    shared = {}
    for utt_id in here.ids:
        path = here.paths[utt_id]
        for candidate in by_length.get(here.lengths[utt_id], ()):
            other = there.paths[candidate]
            if middle(path) == middle(other) and whole(path) == whole(other):
                shared[utt_id] = candidate
                break
    return shared


def _middle(path: str) -> bytes:
    with open(path, "rb") as stream:
        stream.seek(max(0, os.stat(path).st_size // 2 - PROBE // 2))
        return hashlib.sha256(stream.read(PROBE)).digest()


def shared_speakers(first: str | Path, second: str | Path) -> list[str]:
    """Speakers of both sets; those that have the name of their utterance (speaker unknown) are left out."""
    speakers = []
    for folder in (first, second):
        path = Path(folder) / "utt2spk"
        table = read_kaldi(path) if path.is_file() else {}
        speakers.append({speaker for utt_id, speaker in table.items() if speaker != utt_id})
    return sorted(speakers[0] & speakers[1])


def compare_sets(train: str, valid: str, tests: Sequence[str], output: str | Path) -> list[str]:
    """Write all that training, validation and test sets have in common, and sum it up.

    Args:
        train, valid, tests: folders dump/raw/<set>; one may have several roles.
        output: table with the columns of `HEADER`; without any rows where nothing is shared.

    Returns:
        lines for the terminal: warnings on recordings and on labels in several spellings, notes on the rest.
    """
    names = [Path(folder).name for folder in (train, valid, *tests)]
    folders = dict(zip(names, (train, valid, *tests), strict=True))
    lines, rows, order = _roles(*names), [], list(folders)
    for at, first in enumerate(order):
        for second in order[at + 1 :] if first in names[:2] else ():
            more, told = _compare(first, second, folders, output)
            rows += more
            lines += told
    if len(folders) > 1:
        lines += [
            f"warning: {line}" for line in spelling_warnings({name: read_labels(at) for name, at in folders.items()})
        ]
    with atomic_write(output) as stream:
        stream.write(HEADER)
        stream.writelines("\t".join(row) + "\n" for row in rows)
    return lines


def _roles(train: str, valid: str, *tests: str) -> list[str]:
    lines = []
    if valid == train:
        lines.append(f"warning: {train} is the training and the validation set: no epoch can be told to be the best")
    if train in tests:
        lines.append(f"warning: {train} is the training set and a test set: its scores are those of seen utterances")
    elif valid in tests:
        lines.append(f"note: {valid} is the validation set and a test set, and was formatted as a test set")
    return lines


def _compare(first: str, second: str, folders: dict[str, str], output: str | Path) -> tuple[list[Row], list[str]]:
    """Rows and lines on what `second` shares with `first`."""
    ids = {name: read_kaldi(Path(folders[name]) / "wav.scp").keys() for name in (first, second)}
    recordings = shared_recordings(folders[first], folders[second])
    same_ids = sorted(utt_id for utt_id in ids[first] & ids[second] if recordings.get(utt_id) != utt_id)
    speakers = shared_speakers(folders[first], folders[second])
    found = {"recording": recordings} | {
        "id": {utt: utt for utt in same_ids},
        "speaker": {spk: spk for spk in speakers},
    }
    rows = [
        (what, second, name, first, other) for what, table in found.items() for name, other in sorted(table.items())
    ]
    lines = []
    if recordings:
        pairs = [f"{utt} is {recordings[utt]}" for utt in sorted(recordings)]
        lines.append(
            f"warning: {len(recordings)} of {len(ids[second])} recordings of {second} are in {first} too"
            f" ({few(pairs)}); remove them from one of the sets; all are listed in {output}"
        )
    if same_ids:
        lines.append(
            f"note: {len(same_ids)} ids of {second} are in {first} too, for other recordings ({few(same_ids)}):"
            " ids are told apart by set"
        )
    if speakers:
        lines.append(f"note: {len(speakers)} speakers of {second} are in {first} too ({few(speakers)}); see {output}")
    return rows, lines

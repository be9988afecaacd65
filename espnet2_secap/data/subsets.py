"""Subsets, unions and renamed copies of data directories, as Kaldi's subset_data_dir.sh, combine_data.sh and
copy_data_dir.sh make them."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_secap.data.io import atomic_write, invert, make_dir, only, read_kaldi
from espnet2_secap.data.segments import read_segments
from espnet2_secap.data.validate import INVERSE, utterance_files
from espnet2_secap.errors import SecError, shorten

MORE = ("feats.scp", "vad.scp")  # files with a line per utterance, beside `utterance_files`
OF_RECORDINGS = ("wav.scp", "reco2file_and_channel", "reco2dur")
OF_SPEAKERS = ("spk2gender",)
MAY_BE_EMPTY = ("text",)
LENGTHS = ("utt2num_samples", "utt2num_frames", "utt2dur")
NAMED = 3  # in a message
Table = dict[str, str]


@dataclass
class DataDir:
    """The files of a data directory, name -> id -> value as it stands there.

    Args:
        utterances: files by utterance, segments among them.
        recordings: wav.scp and others by recording, where there are segments; without, wav.scp is in `utterances`.
        speakers: files by speaker, without spk2utt.
        inverse: which of spk2utt and emo2utt are there.
    """

    utterances: dict[str, Table]
    recordings: dict[str, Table] = field(default_factory=dict)
    speakers: dict[str, Table] = field(default_factory=dict)
    inverse: tuple[str, ...] = tuple(INVERSE.values())

    def ids(self) -> list[str]:
        """Utterances, sorted."""
        first = next((name for name in ("segments", "utt2spk", "wav.scp") if name in self.utterances), None)
        return sorted(self.utterances[first or next(iter(self.utterances))])

    def subset(self, ids: Iterable[str]) -> "DataDir":
        """The lines of these utterances, of their recordings and speakers."""
        ids = set(ids)
        utterances = {name: only(table, ids) for name, table in self.utterances.items()}
        used = {value.split()[0] for value in utterances["segments"].values()} if "segments" in utterances else ids
        speakers = set(utterances.get("utt2spk", {}).values())
        return DataDir(
            utterances,
            {name: only(table, used) for name, table in self.recordings.items()},
            {name: only(table, speakers) for name, table in self.speakers.items()},
            self.inverse,
        )

    def renamed(self, utterance: Callable[[str], str], speaker: Callable[[str], str]) -> "DataDir":
        """Other names of utterances and speakers; recordings keep theirs where there are segments.

        Raises:
            SecError: two would have the same name.
        """
        utterances = {name: _renamed(name, table, utterance) for name, table in self.utterances.items()}
        if "utt2spk" in utterances:
            utterances["utt2spk"] = {utt: speaker(spk) for utt, spk in utterances["utt2spk"].items()}
        speakers = {name: _renamed(name, table, speaker) for name, table in self.speakers.items()}
        recordings = dict(self.recordings)
        if "segments" not in self.utterances:
            recordings = {name: _renamed(name, table, utterance) for name, table in recordings.items()}
        return DataDir(utterances, recordings, speakers, self.inverse)

    def write(self, folder: str | Path) -> None:
        """Write it, each file at once or not at all; files of an earlier data directory that it lacks are removed."""
        folder = make_dir(folder)
        tables = {**self.utterances, **self.recordings, **self.speakers}
        for forward, backward in INVERSE.items():
            if forward in tables and backward in self.inverse:
                tables[backward] = invert(tables[forward])
        for path in [folder / name for name in _known(folder) if name not in tables]:
            path.unlink(missing_ok=True)
        for name, table in tables.items():
            with atomic_write(folder / name) as stream:
                stream.writelines(f"{key} {table[key]}".rstrip(" ") + "\n" for key in sorted(table))


def _known(folder: Path) -> list[str]:
    """Names of the files in a folder that belong to a data directory."""
    others = (*MORE, "segments", *OF_RECORDINGS, *OF_SPEAKERS, *INVERSE.values())
    return list(dict.fromkeys([*utterance_files(folder), *(name for name in others if (folder / name).is_file())]))


def _renamed(name: str, table: Mapping[str, str], new: Callable[[str], str]) -> Table:
    renamed = {new(key): value for key, value in table.items()}
    if len(renamed) < len(table):
        raise SecError(f"{name}: two ids would have the same name; choose another prefix or suffix")
    return renamed


def read_data_dir(folder: str | Path) -> DataDir:
    """Read all files of a data directory that have lines by utterance, recording or speaker.

    Raises:
        SecError: no such folder, no utterances, a bad line.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SecError(f"{folder}: no such folder; check the path")
    names = [name for name in _known(folder) if name not in INVERSE.values()]
    tables = {name: read_kaldi(folder / name, may_be_empty=name in MAY_BE_EMPTY) for name in names}
    cuts = read_segments(folder) is not None  # which checks them, too
    of_recordings = {name: tables.pop(name) for name in OF_RECORDINGS if cuts and name in tables}
    for name in OF_RECORDINGS[1:]:  # of recordings that are utterances
        if not cuts and name in tables:
            of_recordings[name] = tables.pop(name)
    of_speakers = {name: tables.pop(name) for name in OF_SPEAKERS if name in tables}
    if not tables:
        raise SecError(f"{folder}: has no wav.scp, utt2spk or text; give a data directory")
    inverse = tuple(name for name in INVERSE.values() if (folder / name).is_file()) or ("spk2utt",)
    return DataDir(tables, of_recordings, of_speakers, inverse)


def choose(data: DataDir, kind: str, number: int, folder: str | Path) -> list[str]:
    """`number` utterances of a data directory.

    Args:
        kind: "first", "last", "shortest"; "random", the same draw each time; "speakers", as many speakers, in random
            order, as it takes to have the number; "per-spk", that many of each speaker, evenly, or all that it has.
        folder: for messages.

    Raises:
        SecError: there are fewer; files that it needs are missing.
    """
    ids = data.ids()
    if number < 1:
        raise SecError(f"{number}: must be 1 utterance or more")
    if kind != "per-spk" and number > len(ids):
        raise SecError(f"{folder}: has {len(ids)} utterances, {number} were asked for; ask for fewer")
    if kind == "first":
        return ids[:number]
    if kind == "last":
        return ids[-number:]
    if kind == "shortest":
        seconds = _lengths(data, folder)
        return sorted(ids, key=lambda utt: (seconds[utt], utt))[:number]
    rng = random.Random(0)
    if kind == "random":
        return rng.sample(ids, number)
    if "utt2spk" not in data.utterances:
        raise SecError(f"{folder}/utt2spk: does not exist, and --{kind} chooses by speaker; add it")
    members = {spk: utts.split() for spk, utts in invert(data.utterances["utt2spk"]).items()}
    if kind == "per-spk":
        return [utt for utts in members.values() for utt in _evenly(utts, number)]
    chosen: list[str] = []
    for spk in rng.sample(sorted(members), len(members)):
        if len(chosen) < number:
            chosen += members[spk]
    return chosen


def _evenly(items: Sequence[str], number: int) -> list[str]:
    count = min(number, len(items))
    return [items[at * len(items) // count] for at in range(count)]


def _lengths(data: DataDir, folder: str | Path) -> dict[str, float]:
    """How long each utterance is, in any unit."""
    for name in LENGTHS:
        if name in data.utterances:
            try:
                return {utt: float(value) for utt, value in data.utterances[name].items()}
            except ValueError as err:
                raise SecError(f"{folder}/{name}: {shorten(str(err))}; make it again, or remove it") from None
    segments = read_segments(folder) or {}
    if segments and all(one.end > 0 for one in segments.values()):
        return {utt: one.end - one.start for utt, one in segments.items()}
    if segments:
        raise SecError(f"{folder}: --shortest needs {' or '.join(LENGTHS)}, since segments has ends of -1; add one")
    from espnet2_secap.data.audio import BadAudio, read_header

    seconds = {}
    for utt, path in data.utterances.get("wav.scp", {}).items():
        try:
            seconds[utt] = read_header(path).seconds
        except BadAudio as err:
            raise SecError(f"{folder}/wav.scp: {utt}: {shorten(path, 500)}: {err}") from err
    return seconds


def combine_dirs(folders: Sequence[str | Path]) -> tuple[DataDir, list[str]]:
    """The union of data directories.

    Where only some have segments, a recording of the others becomes the segment `id id 0 -1`. Files that some lack are
    left out.

    Returns:
        the union; a note for each file that is left out.

    Raises:
        SecError: an id is in two of them, or names different recordings or speakers' values.
    """
    dirs = [read_data_dir(folder) for folder in folders]
    if any("segments" in one.utterances for one in dirs):
        dirs = [one if "segments" in one.utterances else _with_segments(one) for one in dirs]
    notes, kinds = [], []
    for kind in ("utterances", "recordings", "speakers"):
        tables = [getattr(one, kind) for one in dirs]
        union: dict[str, Table] = {}
        for name in dict.fromkeys(name for each in tables for name in each):
            without = [str(folder) for folder, each in zip(folders, tables, strict=True) if name not in each]
            if without:
                notes.append(f"{name} is left out: {', '.join(without[:NAMED])} has none")
            else:
                union[name] = _union(name, [each[name] for each in tables], folders, once=kind == "utterances")
        kinds.append(union)
    inverse = tuple(name for name in INVERSE.values() if any(name in one.inverse for one in dirs))
    return DataDir(*kinds, inverse), notes


def _with_segments(data: DataDir) -> DataDir:
    wavs = data.utterances.get("wav.scp", {})
    rest = {name: table for name, table in data.utterances.items() if name != "wav.scp"}
    segments = {utt: f"{utt} 0 -1" for utt in wavs}
    return DataDir({"segments": segments, **rest}, {"wav.scp": wavs, **data.recordings}, data.speakers, data.inverse)


def _union(name: str, tables: Sequence[Table], folders: Sequence[str | Path], once: bool) -> Table:
    """All lines; an id may be in two tables only if `once` is false and the lines are the same."""
    union: Table = {}
    for table, folder in zip(tables, folders, strict=True):
        both = sorted(key for key in table.keys() & union.keys() if once or table[key] != union[key])
        if both:
            if name in OF_RECORDINGS and not once:  # which copy_data_dir.sh does not rename, as Kaldi's does not
                how = "rename these recordings in wav.scp and segments"
            else:
                how = "rename them with utils/copy_data_dir.sh --utt-prefix PREFIX, and speakers with --spk-prefix"
            named = ", ".join(both[:NAMED])
            raise SecError(f"{folder}/{name}: {len(both)} ids are in an earlier directory too ({named}); {how}")
        union |= table
    return union

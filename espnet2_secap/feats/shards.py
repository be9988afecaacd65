"""The work of stage 3: shards of utterances, and whether a shard is finished. No torch here.

A shard is `feats.K.ark` with the features of up to 64 utterances, and beside it its index `feats.K.json`: the
fingerprint of all it was made from, the ark's size, and for each utterance its place in the ark and its
frames. The index is written last, so a shard is complete if its index is there and agrees with the ark.
Shards do not depend on the number of jobs: any number of jobs, in any order, makes the same files.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.process.jobs import fingerprint, part_of, stamps, stat_of

SHARD_UTTS = 64  # at most
SMALL_SHARD_UTTS = 32


@dataclass(frozen=True)
class Settings:
    """All that decides what the features are."""

    encoder: str
    conf: dict
    dtype: str

    def stamp(self) -> list:
        """The settings, with sizes and times of the files they name."""
        return [asdict(self), stamps(_texts(self.conf))]


def _texts(conf: dict) -> list[str]:
    """Every text in a configuration: some of them are files and folders."""
    output = []
    for value in conf.values():
        output += _texts(value) if isinstance(value, dict) else [value] if isinstance(value, str) else []
    return output


@dataclass(frozen=True)
class Utt:
    """One utterance: its id, its audio file, its length in samples."""

    id: str
    path: str
    samples: int


@dataclass(frozen=True, eq=False)
class Shard:
    """One part of a set: where it goes, and what it is made from (`audio`: the set, `stamp`: of the settings)."""

    set_dir: Path
    number: int
    utts: tuple[Utt, ...]
    audio: Utterances
    settings: Settings
    stamp: list

    @property
    def ark(self) -> Path:
        """The features."""
        return self.set_dir / "data" / f"feats.{self.number}.ark"

    @property
    def index(self) -> Path:
        """What is in the ark and how it was made."""
        return self.set_dir / "data" / f"feats.{self.number}.json"

    def fingerprint(self) -> str:
        """Changes with the settings, the list of utterances, or any of the files behind them.

        Raises:
            SecError: an audio file is not there.
        """
        made_from = [self.stamp]
        for utt in self.utts:
            if not os.path.isfile(utt.path):
                raise SecError(f"{utt.path}: {utt.id}: does not exist; run stage 2 again")
            made_from.append([*asdict(utt).values(), stat_of(utt.path)])
        return fingerprint(made_from)

    def load(self) -> dict | None:
        """The index of a finished shard, whatever it was made from; None if the shard is missing or broken."""
        try:
            index = json.loads(self.index.read_text(encoding="utf-8"))
            return index if self.ark.stat().st_size == index["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def plan(dumpdir: str | Path, sets: Sequence[str], output: str | Path, settings: Settings) -> list[Shard]:
    """All shards of all sets, in order.

    Raises:
        SecError: a set's list of audio is missing, empty or broken: stage 2 makes it.
    """
    shards, stamp = [], settings.stamp()
    for name in sets:
        audio = Utterances(Path(dumpdir) / "raw" / name, raw=True)
        utts = [Utt(utt, audio.paths[utt], audio.lengths[utt]) for utt in audio.ids]
        count = _how_many(len(utts))
        for number in range(1, count + 1):
            part = tuple(part_of(utts, count, number))
            shards.append(Shard(Path(output) / name, number, part, audio, settings, stamp))
    return shards


def _how_many(utts: int) -> int:
    """Shards of a set. Small sets have 2, 4 or 8, so that as many jobs have equal work; more would cost padding."""
    count = 1
    while count < 8 and utts > count * SMALL_SHARD_UTTS:
        count *= 2
    return max(count, ceil(utts / SHARD_UTTS))


def loads(shards: Sequence[Shard]) -> dict[Shard, int]:
    """How much audio each shard is of, for `deal` and `share` of process/jobs.py."""
    return {shard: sum(utt.samples for utt in shard.utts) for shard in shards}

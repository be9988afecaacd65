"""What stage 3 has to make: shards of utterances, and whether one is there already. No torch here.

A shard is `feats.K.ark` with the features of up to 64 utterances, and beside it `feats.K.json`: the
fingerprint of all it was made from, the ark's size, and for each utterance its place in the ark and its
frames. The json is written last, so a shard is whole if its json is there and agrees with the ark.
Shards do not depend on the number of jobs: any number of jobs, in any order, makes the same files.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.errors import SecError
from espnet2_secap.feats.shapes import read_lengths
from espnet2_secap.process.jobs import part_of, stamps, stat_of

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
    """One part of a set: where it goes, and what it is made from (`stamp` is that of the settings)."""

    set_dir: Path
    number: int
    utts: tuple[Utt, ...]
    settings: Settings
    stamp: list

    @property
    def ark(self) -> Path:
        """The features."""
        return self.set_dir / "data" / f"feats.{self.number}.ark"

    @property
    def samples(self) -> int:
        """How much audio it is of."""
        return sum(utt.samples for utt in self.utts)

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
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    def load(self) -> dict | None:
        """The index of a shard that is there in full, whatever it was made from; None where it is not."""
        try:
            index = json.loads(self.index.read_text(encoding="utf-8"))
            return index if self.ark.stat().st_size == index["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def plan(dumpdir: str | Path, sets: Sequence[str], output: str | Path, settings: Settings) -> list[Shard]:
    """All shards of all sets, in order.

    Raises:
        SecError: a set's list of audio is missing, empty or broken: stage 2 makes it.
    """
    shards, stamp = [], settings.stamp()
    for name in sets:
        utts = read_set(Path(dumpdir) / "raw" / name)
        count = _how_many(len(utts))
        for number in range(1, count + 1):
            part = tuple(part_of(utts, count, number))
            shards.append(Shard(Path(output) / name, number, part, settings, stamp))
    return shards


def _how_many(utts: int) -> int:
    """Shards of a set. Small sets have 2, 4 or 8, that as many jobs get the same work; more would cost more padding."""
    count = 1
    while count < 8 and utts > count * SMALL_SHARD_UTTS:
        count *= 2
    return max(count, ceil(utts / SHARD_UTTS))


def deal(shards: Sequence[Shard], nj: int) -> list[list[Shard]]:
    """The shards of each of `nj` jobs: longest first, each goes to the job with the least audio so far."""
    load, dealt = [0] * nj, [set() for _ in range(nj)]
    for shard in sorted(shards, key=lambda shard: -shard.samples):  # equal ones stay in the plan's order
        least = load.index(min(load))
        load[least] += shard.samples
        dealt[least].add(shard)
    return [[shard for shard in shards if shard in mine] for mine in dealt]


def share(shards: Sequence[Shard], nj: int, job: int) -> list[Shard]:
    """The shards of job `job` (from 1) of `nj`.

    Raises:
        SecError: no such job.
    """
    if not 1 <= job <= nj:
        raise SecError(f"--job {job} --nj {nj}: wants 1 <= job <= nj")
    return deal(shards, nj)[job - 1]


def read_set(folder: Path) -> list[Utt]:
    """The utterances of dump/raw/<set>, sorted by id.

    Raises:
        SecError: wav.scp or utt2num_samples is missing, empty or broken, or their ids differ.
    """
    scp, num = folder / "wav.scp", folder / "utt2num_samples"
    for path in (scp, num):
        if not path.is_file():
            raise SecError(f"{path}: does not exist; stage 2 makes it, run that first")
    wavs, samples = read_kaldi(scp), read_lengths(num)
    for utt in sorted(wavs.keys() ^ samples.keys()):
        here, there = (scp, num) if utt in wavs else (num, scp)
        raise SecError(f"{there}: {utt}: is not there, but in {here.name}; run stage 2 again")
    return [Utt(utt, wavs[utt], samples[utt]) for utt in sorted(wavs)]

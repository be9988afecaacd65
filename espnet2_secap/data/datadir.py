"""Writing data directories, and drawing valid and test sets from a corpus."""

import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_secap.data.io import invert, make_dir, named_os_errors, write_captions, write_kaldi
from espnet2_secap.data.validate import INVERSE, require_good_data_dir


@dataclass
class DataSet:
    """The content of data/<set>: tables id -> value that all have the same ids.

    Args:
        wav: path of the recording.
        captions: one caption or more.
        spk: speaker.
        text: words spoken, or nothing.
        attributes: "emo", "rate", ... -> table, written as utt2emo, utt2rate, ...
    """

    wav: Mapping[str, str]
    captions: Mapping[str, list[str]]
    spk: Mapping[str, str]
    text: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def subset(self, ids: Sequence[str]) -> "DataSet":
        """The same tables for `ids` alone."""

        def cut(table: Mapping) -> dict:
            return {utt_id: table[utt_id] for utt_id in ids} if table else {}

        attributes = {name: cut(table) for name, table in self.attributes.items()}
        return DataSet(cut(self.wav), cut(self.captions), cut(self.spk), cut(self.text), attributes)

    def write(self, folder: Path) -> None:
        """Write the files into a new folder and check it.

        Raises:
            SecError: the tables do not make a correct data directory.
        """
        make_dir(folder)
        tables = {"wav.scp": self.wav, "utt2spk": self.spk}
        tables.update({"text": self.text} if self.text else {})
        tables.update({f"utt2{name}": table for name, table in self.attributes.items()})
        for name, table in tables.items():
            write_kaldi(folder / name, table)
            if name in INVERSE:
                write_kaldi(folder / INVERSE[name], invert(table))
        write_captions(folder / "captions", self.captions)
        require_good_data_dir(folder)


def write_data_dirs(root: str | Path, sets: Mapping[str, DataSet]) -> None:
    """Write root/<set> for every set: first all new folders beside the old ones, then they replace them.

    Raises:
        SecError: a set has errors. OSError: no space, no permission. The old folders stay unchanged.
    """
    root = make_dir(root)
    for left in root.glob(".new.*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    new = root / f".new.{os.getpid()}"
    try:
        for name, data in sets.items():
            data.write(new / name)
        for name in sets:
            old = new / f"{name}.old"
            with named_os_errors(root / name):
                if (root / name).exists():
                    os.rename(root / name, old)
                os.rename(new / name, root / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def draw_evenly(strata: Mapping[str, object], size: int, seed: int) -> tuple[list[str], list[str]]:
    """Draw `size` ids at random so that each stratum is there in proportion (systematic sampling).

    Args:
        strata: id -> stratum, such as (speaker, emotion).
        size: how many to draw, at most all.
        seed: the same seed and ids give the same draw.

    Returns:
        ids drawn, ids left; both sorted.
    """
    assert 0 <= size <= len(strata), (size, len(strata))
    rng = random.Random(f"draw-{seed}")
    shuffled = {utt_id: rng.random() for utt_id in sorted(strata)}
    ordered = sorted(strata, key=lambda utt_id: (strata[utt_id], shuffled[utt_id]))
    start = rng.random()
    drawn = {ordered[int((number + start) * len(ordered) / size)] for number in range(size)}
    return sorted(drawn), sorted(set(strata) - drawn)

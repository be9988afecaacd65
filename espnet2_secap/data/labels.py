"""Labels of utt2emo and the other files of categories: one label in several spellings, and other names for labels."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.text_file import read_text
from espnet2_secap.data.validate import utterance_files
from espnet2_secap.errors import SecError, shorten

NO_LABELS = ("utt2spk", "utt2num_samples", "utt2num_frames", "utt2dur", "utt2uniq", "utt2lang")
# Emotions of utterances. The second names them where they are no truth to score against, for cross-validation, which
# trains on test sets too.
EMOTIONS = ("utt2emo", "utt2emo_train")
SHOWN = 5  # groups of spellings in a message


def read_labels(folder: str | Path) -> dict[str, Counter[str]]:
    """File name -> label -> utterances, for utt2emo, utt2rate, ... of a data directory.

    Raises:
        SecError: a bad line.
    """
    names = [name for name in utterance_files(folder) if name.startswith("utt2") and name not in NO_LABELS]
    return {name: Counter(read_kaldi(Path(folder) / name).values()) for name in names}


def plain(label: str) -> str:
    """What the spellings of a label have in common: NFKC, without case, without blanks around it.

    >>> plain("Ｈａｐｐｙ") == plain("happy") == plain(" HAPPY\u3000")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).strip()


def spelling_warnings(sets: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """One line for each file in which a label has several spellings.

    Args:
        sets: set -> file name -> label -> utterances. Where there are several sets, labels that differ within one of
            them are left out: they were told when that set was looked at alone.
    """
    warnings = []
    for name in sorted({name for files in sets.values() for name in files}):
        groups: dict[str, dict[str, dict[str, int]]] = {}  # plain label -> spelling -> set -> utterances
        for dset, files in sets.items():
            for label, count in sorted(files.get(name, {}).items()):
                groups.setdefault(plain(label), {}).setdefault(label, {})[dset] = count
        found = [group for group in groups.values() if len(group) > 1 and (len(sets) == 1 or not _within_one(group))]
        if found:
            told = "; ".join(", ".join(_told(label, group[label]) for label in group) for group in found[:SHOWN])
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            how = "give --emotion_map FILE with lines `label label`" if name in EMOTIONS else "correct them in data/"
            warnings.append(f"{name}: one label in several spellings: {told}{more}; {how} to make them one")
    return warnings


def in_classes(labels: Mapping[str, str], classes: Mapping[str, str]) -> dict[str, str]:
    """Utterance -> the class of its label; a label without any is its own class."""
    return {utt: classes.get(label, label) for utt, label in labels.items()}


def read_classes(path: str | Path, renamed: Mapping[str, str]) -> dict[str, str]:
    """Utterance -> label of a file such as utt2emo, with other names for labels (see `read_emotion_map`)."""
    return in_classes(read_kaldi(path), renamed)


def _within_one(group: Mapping[str, Mapping[str, int]]) -> bool:
    return max(Counter(dset for counts in group.values() for dset in counts).values()) > 1


def _told(label: str, counts: Mapping[str, int]) -> str:
    return f"{label!r} ({', '.join(f'{dset}: {count}' for dset, count in counts.items())})"


def read_emotion_map(path: str | Path) -> dict[str, str]:
    """label -> the label that takes its place, by lines `label label`; lines that begin with # are comments.

    A label is renamed once, not again where its new name is renamed too.

    Raises:
        SecError: no such file, not UTF-8, a line without two labels, a label twice.
    """
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        fields = line.replace("\t", " ").split(" ")
        old, *new = [field for field in fields if field] or [""]
        if not old or old.startswith("#"):
            continue
        if len(new) != 1 or not new[0].strip():
            what = "has no new label" if not new else "has more than two labels"
            raise SecError(f"{path}:{number}: {shorten(old)}: {what}; write `label label`, the old one first")
        if names.setdefault(old, new[0]) != new[0]:
            raise SecError(f"{path}:{number}: {shorten(old)}: is renamed twice; remove one of the lines")
    if not names:
        raise SecError(f"{path}: renames no label; write lines `label label`, the old one first")
    return names

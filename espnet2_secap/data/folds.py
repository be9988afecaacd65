"""Cross-validation: the recordings of all sets are divided into folds, each of which is a recipe folder of its own.

FOLDER/<k> has links to the recipe's files, dump/raw/{train,valid,test} and dump/<feats_tag>/{train,valid,test}, which
hold lists only, and run.sh. Its test set is part k of the recordings, so that each is tested once; FOLDER/test has the
references of all of them.
"""

import random
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet2_secap.data.datadir import draw_evenly
from espnet2_secap.data.io import only, read_captions, read_kaldi, write_captions
from espnet2_secap.data.labels import EMOTIONS
from espnet2_secap.data.perturb import ORIGIN
from espnet2_secap.data.subsets import DataDir, Table, combine_dirs
from espnet2_secap.errors import SecError, few, listed
from espnet2_secap.process.files import atomic_write, make_dir

SETS = ("train", "valid", "test")
FOLD_BY = ("recording", "speaker")
VALID = 10  # one in so many of all recordings is for validation in each fold, as in the split of the recipes


@dataclass(frozen=True)
class Fold:
    """Ids of the three sets of a fold, sorted."""

    train: list[str]
    valid: list[str]
    test: list[str]


@dataclass(frozen=True)
class Pool:
    """The recordings of all sets.

    Args:
        raw: dump/raw of all sets; utt2emo only where each set has it, as the truth to score against.
        feats: dump/<feats_tag> of all sets, copies included; None where the encoder runs in training.
        labels: emotions to train with; none where a set has neither of `EMOTIONS`.
        notes: what was left out.
        front_end: content of dump/<feats_tag>/<set>/config.json, which says what made the features.
        copies: dump/raw of all sets with their copies (--speed_perturb, --noise_snr), without emotions; none if none.
    """

    raw: DataDir
    feats: DataDir | None
    labels: Table
    notes: list[str]
    front_end: str | None = None
    copies: DataDir | None = None

    def speakers(self) -> Table:
        """Recording -> speaker; without utt2spk, each recording is its own."""
        return self.raw.utterances.get("utt2spk") or {utt: utt for utt in self.raw.ids()}


def check_number(folds: int, by: str, speakers: Mapping[str, str]) -> None:
    """See that recordings, or speakers, suffice.

    Raises:
        SecError: they do not.
    """
    if 2 * folds > len(speakers):
        raise SecError(
            f"--folds {folds}: needs two recordings to test in each, and there are {len(speakers)}; lower it"
        )
    there = len(set(speakers.values()))
    if by == "speaker" and folds > there:
        raise SecError(f"--folds {folds} --fold_by speaker: there are only {there} speakers; lower --folds")


def divide(
    speakers: Mapping[str, str], emotions: Mapping[str, str], folds: int, by: str = "recording", seed: int = 0
) -> list[list[str]]:
    """Divide recordings into parts of the same kind: each emotion, and of it each speaker, in proportion.

    Args:
        speakers: recording -> speaker.
        emotions: recording -> emotion, or nothing.
        folds: number of parts.
        by: "recording"; or "speaker": no speaker is in two parts (scikit-learn's StratifiedGroupKFold).
        seed: the same seed and recordings give the same parts.

    Returns:
        the ids of each part, sorted.

    Raises:
        SecError: more parts than there is something to divide.
    """
    check_number(folds, by, speakers)
    ids = sorted(speakers)
    if by == "recording":
        rng = random.Random(f"folds-{seed}")
        drawn = {utt: rng.random() for utt in ids}
        order = sorted(ids, key=lambda utt: (emotions.get(utt, ""), speakers[utt], drawn[utt]))
        return [sorted(order[part::folds]) for part in range(folds)]
    from sklearn.model_selection import StratifiedGroupKFold

    labels = [emotions.get(utt, "") for utt in ids]
    if max(Counter(labels).values()) < folds:  # which it refuses
        labels = [""] * len(ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an emotion that has fewer recordings than there are parts
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = [[ids[at] for at in test] for _, test in splitter.split(ids, labels, [speakers[utt] for utt in ids])]
    if min(map(len, parts)) < 2:
        raise SecError(
            f"--folds {folds} --fold_by speaker: a part would have fewer than two recordings, since speakers have very"
            " different numbers of them; lower --folds, or give another --fold_seed"
        )
    return parts


def make_folds(
    parts: Sequence[Sequence[str]], speakers: Mapping[str, str], emotions: Mapping[str, str], seed: int = 0
) -> list[Fold]:
    """The sets of each fold: part k to test, as many others as a tenth of all for validation, the rest for training.

    The validation set is drawn by emotion and speaker; an emotion of one recording stays in the training set.
    """
    folds = []
    for part in parts:
        tested = set(part)
        rest = {utt: (emotions.get(utt, ""), speakers[utt]) for utt in sorted(speakers) if utt not in tested}
        counts = Counter(emotion for emotion, _ in rest.values())
        drawable = {utt: stratum for utt, stratum in rest.items() if counts[stratum[0]] > 1}
        size = min(max(1, len(speakers) // VALID), len(drawable) - 1)
        if size < 1:
            raise SecError(
                f"--folds {len(parts)}: {len(rest)} recordings to train with are too few for a validation set"
            )
        valid, _ = draw_evenly(drawable, size, seed)
        folds.append(Fold(sorted(rest.keys() - set(valid)), valid, sorted(part)))
    return folds


def lost_emotions(folds: Sequence[Fold], emotions: Mapping[str, str]) -> list[str]:
    """A warning for each emotion that the training sets of some folds do not have."""
    counts = Counter(emotions.values())
    without: dict[str, list[str]] = {}
    for number, fold in enumerate(folds, 1):
        for emotion in sorted(counts.keys() - {emotions[utt] for utt in fold.train if utt in emotions}):
            without.setdefault(emotion, []).append(str(number))
    return [
        f"warning: the training set of fold {', '.join(numbers)} has no recording of emotion {emotion!r}, which has"
        f" {counts[emotion]} in all: there it is tested, and cannot be learned; join it to another (--emotion_map FILE)"
        for emotion, numbers in without.items()
    ]


def read_pool(dumpdir: str | Path, feats_dir: str | Path | None, sets: Sequence[str], copies: str = "") -> Pool:
    """Read the dumped lists of all sets.

    Args:
        feats_dir: dump/<feats_tag>; None where there are no stored features.
        copies: what the names of the sets with copies end with; nothing where there are none.

    Raises:
        SecError: a bad file; an id that is in two sets.
    """
    folders = [Path(dumpdir) / "raw" / name for name in sets]
    raw, notes = combine_dirs(folders)
    labels: Table | None = {}
    for folder in folders:
        file = next((folder / name for name in EMOTIONS if (folder / name).is_file()), None)
        labels = None if labels is None or file is None else labels | read_kaldi(file)
    notes = [note for note in notes if not note.startswith(EMOTIONS)]
    if labels is None and any((folder / name).is_file() for folder in folders for name in EMOTIONS):
        without = [str(folder) for folder in folders if not any((folder / name).is_file() for name in EMOTIONS)]
        notes.append(
            f"warning: emotions are left out of all folds, since {', '.join(without)} has none; add utt2emo, or"
            " utt2emo_train where they are no truth to score against, in stage 1"
        )
    for name in EMOTIONS[1:]:
        raw.utterances.pop(name, None)
    whole, feats, front_end = None, None, None
    if copies:
        whole, _ = combine_dirs([Path(dumpdir) / "raw" / f"{name}{copies}" for name in sets])
        for name in EMOTIONS:
            whole.utterances.pop(name, None)
        if other := sorted(set(raw.ids()) ^ set(whole.utterances[ORIGIN].values())):
            raise SecError(f"{dumpdir}/raw: copies are not of the recordings ({few(other)}); run stage 2 again")
    if feats_dir:
        of_sets = [Path(feats_dir) / f"{name}{copies}" for name in sets]
        feats, front_end = combine_dirs(of_sets)[0], _front_end(of_sets)
    if feats and (other := sorted(set((whole or raw).ids()) ^ set(feats.ids()))):
        raise SecError(f"{feats_dir}: has not the recordings of {dumpdir}/raw ({few(other)}); run stage 3 again")
    return Pool(raw, feats, labels or {}, notes, front_end, whole)


def _front_end(folders: Sequence[Path]) -> str | None:
    """The config.json of folders of features, which must be the same."""
    found = {file: file.read_text(encoding="utf-8") for folder in folders if (file := folder / "config.json").is_file()}
    if len(set(found.values())) > 1:
        raise SecError(f"{listed(list(map(str, found)))}: are not the same, so features differ; run stage 3 again")
    return next(iter(found.values()), None)


def write_fold(folder: Path, fold: Fold, pool: Pool, feats_dir: str | Path, back: str, copies: str = "") -> None:
    """Write the lists of a fold; where there are copies, a training set with those of its recordings, too.

    Args:
        folder: of the fold.
        feats_dir: dump/<feats_tag> of the recipe.
        back: from that folder to the recipe's, from which the paths in its lists lead.
        copies: what the names of sets with copies end with.
    """
    for name in SETS:
        ids = getattr(fold, name)
        raw = pool.raw.subset(ids)
        if name != "test" and pool.labels:
            raw = replace(raw, utterances=raw.utterances | {"utt2emo": only(pool.labels, set(ids))})
        _write_set(folder / "dump", name, raw, pool, feats_dir, back)
    if pool.copies:
        trained = set(fold.train)
        origin = {utt: first for utt, first in pool.copies.utterances[ORIGIN].items() if first in trained}
        raw = pool.copies.subset(origin)
        if pool.labels:
            labels = {utt: pool.labels[first] for utt, first in origin.items() if first in pool.labels}
            raw = replace(raw, utterances=raw.utterances | {"utt2emo": labels})
        _write_set(folder / "dump", f"train{copies}", raw, pool, feats_dir, back)


def _write_set(dump: Path, name: str, raw: DataDir, pool: Pool, feats_dir: str | Path, back: str) -> None:
    """dump/raw/<name> and, where there are features, dump/<feats_tag>/<name>."""
    _moved(raw, "wav.scp", back).write(dump / "raw" / name)
    if pool.feats:
        output = dump / Path(feats_dir).name / name
        _moved(pool.feats.subset(raw.ids()), "feats.scp", back).write(output)
        if pool.front_end is not None:
            with atomic_write(output / "config.json") as stream:
                stream.write(pool.front_end)


def write_references(folder: Path, pool: Pool) -> None:
    """The captions, and the truth to score against, of all recordings."""
    tables = {name: table for name, table in pool.raw.utterances.items() if name != "wav.scp"}
    DataDir(tables, {}, pool.raw.speakers, pool.raw.inverse).write(folder)


def _moved(data: DataDir, name: str, back: str) -> DataDir:
    """The same with paths that lead from another folder, `back` from which is this one."""
    table = {utt: path if path.startswith("/") else f"{back}/{path}" for utt, path in data.utterances[name].items()}
    return replace(data, utterances=data.utterances | {name: table})


def fold_files(folder: str | Path, dset: str) -> list[Path]:
    """The references of a set (`SETS`) of each fold.

    Raises:
        SecError: there is no fold, or one is missing.
    """
    numbers = sorted(int(path.name) for path in Path(folder).glob("[1-9]*") if path.name.isdecimal())
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise SecError(f"{folder}: does not hold folds 1, 2, ...; make them (sec_folds make)")
    return [Path(folder) / f"{number}/dump/raw/{dset}/captions" for number in numbers]


def tested(folder: str | Path) -> list[list[str]]:
    """The ids that each fold tests.

    Raises:
        SecError: there is no fold, or one is not whole.
    """
    return [list(read_kaldi(file)) for file in fold_files(folder, "test")]


def pool_captions(folder: Path, wanted: str) -> tuple[list[Path], list[str]]:
    """Join what the folds have made of their test sets.

    Args:
        folder: holds the folds.
        wanted: name of a system that every fold must have, such as sec_caption_hubert/decode.

    Returns:
        a folder FOLDER/exp/<system>/test with `captions` for each system that all folds have; warnings of others.

    Raises:
        SecError: a fold lacks the wanted system, or has it for other recordings than it tests.
    """
    ids = tested(folder)
    made, warned = [], []
    homes = [folder / str(number) / "exp" for number in range(1, len(ids) + 1)]
    systems = {str(path.parent.parent.relative_to(home)) for home in homes for path in home.rglob("test/captions")}
    for system in sorted(systems | {wanted}):
        files = [home / system / "test" / "captions" for home in homes]
        captions = [read_captions(file, may_be_empty=True) if file.is_file() else None for file in files]
        bad = [
            str(k)
            for k, (of_fold, tests) in enumerate(zip(captions, ids, strict=True), 1)
            if set(of_fold or ()) != set(tests)
        ]
        if bad:
            what = f"{folder}: fold {listed(bad)} has no captions of {system} for the recordings that it tests"
            if system == wanted:
                raise SecError(f"{what}; run stage 7 first (--stage 7 --stop-stage 7)")
            warned.append(f"warning: {what}, so {system} is left out")
            continue
        output = make_dir(folder / "exp" / system / "test")
        if all(file.with_name("candidates.jsonl").is_file() for file in files):
            with atomic_write(output / "candidates.jsonl") as stream:
                for file in files:
                    stream.write(file.with_name("candidates.jsonl").read_text(encoding="utf-8"))
        joined = {utt: texts for of_fold in captions for utt, texts in of_fold.items()}
        write_captions(output / "captions", joined, may_be_empty=True)
        made.append(output)
    return made, warned

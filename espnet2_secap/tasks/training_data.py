"""What a training's data files tell before the first step: ids, captions and categories that would end it later."""

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from espnet2_secap.data.io import good_lines, parse_captions, read_kaldi, read_lengths
from espnet2_secap.data.labels import in_classes, read_emotion_map
from espnet2_secap.data.reference_pairs import parse_pairs
from espnet2_secap.data.transcripts import check_transcripts
from espnet2_secap.errors import SecError, listed, shorten
from espnet2_secap.text.clues import read_clues
from espnet2_secap.text.roles import reads_clues

SHOWN = 3  # ids that a message lists
AGAIN = "run stage 2 again"


def check_sets(args: argparse.Namespace, needed: Collection[str], processes: int, reads_text: bool = False) -> None:
    """Look through the files of the training and the validation set.

    Args:
        args: of sec_train.
        needed: names of the data that the model uses, as "caption" or "emotion".
        processes: that share each batch.
        reads_text: whether the model reads the transcription, which may then be missing by --missing_text empty only.

    Raises:
        SecError: fewer utterances than processes, lengths of other data, utterances that a file lacks, captions or
            preference pairs that cannot be read, utterances without a transcription, categories that the training set
            lacks.
    """
    categories = set()
    for split, role in (("train", "training"), ("valid", "validation")):
        paths = {name: path for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type")}
        shapes = getattr(args, f"{split}_shape_file")
        utts = dict.fromkeys(utt for path in shapes for utt in read_kaldi(path))
        if utts and len(utts) < processes:
            raise SecError(
                f"{shapes[0]}: the {role} set has {len(utts)} utterance(s), and each of the {processes} processes needs"
                f" one of every batch: train with at most {len(utts)} (--train_nproc, --ngpu, --num_nodes), or give"
                f" a larger {role} set"
            )
        _check_lengths(args, split, role)
        tables = {name: {utt: value for _, utt, value in good_lines(path, True)} for name, path in paths.items()}
        if reads_text and "text" in tables:
            check_transcripts(paths["text"], tables["text"], list(utts), args.missing_text, f"{role} set", skip=True)
        for name, table in tables.items():
            absent = [utt for utt in utts if utt not in table]
            if absent:
                todo = "give the shape file that sec_reference has written beside it" if name == "pairs" else AGAIN
                raise SecError(f"{paths[name]}: has no line for {_ids(absent, utts)} of the {role} set; {todo}")
        for name, parse in (("caption", parse_captions), ("pairs", parse_pairs)):
            if name in needed and name in tables:
                _check_lists(paths[name], tables[name], parse)
        if reads_clues(needed) and "clues" in paths:
            read_clues(paths["clues"])
        if "emotion" in needed and "emotion" in tables:
            table = in_classes(tables["emotion"], classes_of(args))
            if split == "train":
                categories = set(table.values())
            else:
                check_categories(paths["emotion"], table, categories)


def classes_of(args: argparse.Namespace) -> dict[str, str]:
    """Label of utt2emo -> its class in training, by --emotion_classes.

    Raises:
        SecError: the file cannot be read.
    """
    path = getattr(args, "emotion_classes", None)
    return read_emotion_map(path) if path else {}


def _check_lengths(args: argparse.Namespace, split: str, role: str) -> None:
    """See that stage 4's lengths are those of the data: batches are made by them."""
    for path, name, kind in getattr(args, f"{split}_data_path_and_name_and_type"):
        file = Path(path).with_name("utt2num_samples" if kind == "sound" else "utt2num_frames")
        shapes = getattr(args, f"{split}_shape_file")
        if name != "speech" or not shapes or not file.is_file():
            continue
        lengths, shape = read_lengths(file), read_kaldi(shapes[0])
        other = [utt for utt, value in shape.items() if utt in lengths and value.split(",")[0] != str(lengths[utt])]
        if other:
            raise SecError(
                f"{shapes[0]}: was made from other data: {_ids(other, shape)} of the {role} set have another length"
                f" in {file}; run stage 4 again"
            )


def _check_lists(path: str, table: Mapping[str, str], parse: Callable[[str], list]) -> None:
    bad, what = [], ""
    for utt, line in table.items():
        try:
            parse(line)
        except ValueError as err:
            bad.append(utt)
            what = what or str(err)
    if bad:
        raise SecError(f"{path}: {_ids(bad, table)}: {what}")


def check_categories(path: str, table: Mapping[str, str], known: set[str]) -> None:
    """See that the categories of the validation set are among those of the training set.

    Args:
        path: of the validation set's file, for the message.
        table: its categories by utterance.
        known: those of the training set.

    Raises:
        SecError: lists those that are not, with utterances.
    """
    other: dict[str, list[str]] = {}
    for utt, category in table.items():
        if category not in known:
            other.setdefault(category, []).append(utt)
    if other:
        said = "; ".join(f"category {shorten(one)!r} ({_ids(utts, table)})" for one, utts in sorted(other.items()))
        there = shorten(", ".join(sorted(known)), 200)
        raise SecError(
            f"{path}: {said} is not one of the training set's ({there}); correct it (--emotion_map FILE renames"
            " labels), or leave these utterances out of the validation set"
        )


def _ids(some: list[str], of: Mapping) -> str:
    return listed(list(map(shorten, some)), SHOWN) + (f" ({len(some)} of {len(of)})" if len(some) > SHOWN else "")

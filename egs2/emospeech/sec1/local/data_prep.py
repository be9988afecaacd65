#!/usr/bin/env python3
"""EMOSpeech (the public 600 utterances, or the full corpus) -> data/{train,valid,test}.

Decisions:
- speaker: what the id's prefix tells (tx_emotion_003, tx_xiao_01001, tx_emulate_00); another id is its own speaker.
- emotion (utt2emo, which SCCL draws its batches by): the label file where there is one, else the category that most
  of the captions name, the first named one of those. An utterance whose captions name none is "other", a category
  like any; it is rare (1 % of the public part), so that hardly any batch has two of them as a pair. A category with
  one utterance is kept: it has no pair, but stands against the others.
- the test set gets utt2emo from the label file only: without, what its captions name is the truth for emotion recall,
  which may be several categories, and none where they name none. For cross-validation, which trains on its recordings
  too, utt2emo_train has their emotion.
- split: the lists where there are any, else valid and test are drawn in proportion from each speaker and emotion:
  every speaker is in every set, as in the paper.
- what lacks its recording, captions, transcription or label is left out, counted and listed in data/left_out.tsv,
  and so are utterances of valid whose emotion train does not have.
"""

import argparse
import json
import os
import re
from collections import Counter
from pathlib import Path

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.datadir import DataSet, draw_evenly, write_data_dirs
from espnet2_secap.data.io import atomic_write, bad_id, make_dir, read_kaldi
from espnet2_secap.data.text_file import read_names
from espnet2_secap.errors import SecError, cli, shorten
from espnet2_secap.metric.words import load_words, named
from espnet2_secap.values import Count, Seed

SPEAKERS = [re.compile(p) for p in (r"(tx_emotion_\d{3})\d{8}", r"(tx_xiao_\d{5})\d{8}", r"(tx_emulate_\d+)_.*")]
SETS = ("train", "valid", "test")
NO_EMOTION = "other"
HELD_OUT = 600  # valid and test, each, of the full corpus in the paper
HOW_TO_GET = (
    "get the public recordings from the repository thuhcsi/SECap (its folder dataset/) and set EMOSPEECH in db.sh,"
    " or in the environment, to the folder that holds dataset/"
)


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="", help="folder that holds dataset/ (or that folder itself)")
    parser.add_argument("--output", default="data", help="where to make train/ valid/ test/ (default: data)")
    parser.add_argument("--labels", default="", help="file `id emotion` (default: dataset/labels.txt if there)")
    for name in SETS:
        parser.add_argument(
            f"--{name}_ids",
            default="",
            help=f"file with the ids of {name} (default: dataset/{name}.txt if there)",
        )
    parser.add_argument("--num_valid", type=of(Count), help="size of valid without a list (default: 1/10, at most 600)")
    parser.add_argument("--num_test", type=of(Count), help="size of test without a list (default: 1/10, at most 600)")
    parser.add_argument("--seed", type=of(Seed), default=0, help="of the split (default: 0)")
    parser.add_argument("--words", default="zh", help="words file that names the emotions (default: zh)")
    return parser


def find_dataset(corpus: str) -> Path:
    """The folder with fid2captions.json and wav/."""
    if not corpus:
        raise SecError(f"EMOSPEECH is not set; {HOW_TO_GET}")
    for folder in (Path(corpus) / "dataset", Path(corpus)):
        if (folder / "fid2captions.json").is_file():
            break
    else:
        raise SecError(f"{corpus}: no dataset/fid2captions.json in it; {HOW_TO_GET}")
    if not (folder / "wav").is_dir():
        raise SecError(f"{folder / 'wav'}: no such folder; {HOW_TO_GET}")
    return folder


def read_fid2captions(path: Path) -> dict[str, list[str]]:
    """Id -> captions; one sentence or a list of them, blanks at the ends and empty ones taken out."""

    def unique(pairs: list[tuple[str, object]]) -> dict:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise SecError(f"{path}: {shorten(twice[0])}: the id is there twice; remove one of them")
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except SecError:
        raise
    except ValueError as err:
        raise SecError(f"{path}: is not JSON in UTF-8 ({err}); get it again") from None
    if not isinstance(content, dict) or not content:
        raise SecError(f'{path}: wants an object {{"id": "caption" or ["caption", ...], ...}}; get it again')
    captions = {}
    for utt_id, value in content.items():
        sentences = [value] if isinstance(value, str) else value
        if not isinstance(sentences, list) or not all(isinstance(one, str) for one in sentences):
            raise SecError(f"{path}: {shorten(utt_id)}: wants a caption or a list of captions; mend it")
        captions[utt_id] = [" ".join(one.split()) for one in sentences if one.strip()]
    return captions


def find_wavs(dataset: Path) -> dict[str, str]:
    """Id -> recording, for those that are there: dataset/wav/<id>.wav, and what dataset/wav.scp names elsewhere."""
    with os.scandir(dataset / "wav") as entries:
        wavs = {entry.name[:-4]: entry.path for entry in entries if entry.name.endswith(".wav")}
    listed = read_kaldi(dataset / "wav.scp") if (dataset / "wav.scp").is_file() else {}
    for utt_id, value in listed.items():
        for place in (dataset.parent / value, dataset / value):
            if utt_id not in wavs and os.path.isfile(place):  # a value that can be no path is none, either
                wavs[utt_id] = str(place)
    return wavs


def read_ids(path: str | Path) -> list[str]:
    """First field of each line: a list of ids, or any Kaldi file."""
    if not Path(path).is_file():
        raise SecError(f"{path}: no such list of ids; check the path")
    ids = read_names(path)
    twice = [utt_id for utt_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise SecError(f"{path}: {shorten(twice[0])}: the id is there twice; remove one of the lines")
    if not ids:
        raise SecError(f"{path}: is empty; write one id per line")
    return ids


def speaker(utt_id: str) -> str:
    """Who speaks, as far as the id tells."""
    for pattern in SPEAKERS:
        match = pattern.fullmatch(utt_id)
        if match:
            return match[1]
    return utt_id


def emotion(captions: list[str], words: dict[str, list[str]]) -> str:
    """The category that most captions name; of equals, the one named first."""
    counts = Counter(category for caption in captions for category in named(caption, words))
    return counts.most_common(1)[0][0] if counts else NO_EMOTION


def collect(dataset: Path, args: argparse.Namespace) -> tuple[DataSet, dict[str, str], bool]:
    """All utterances that are complete, why the others are not, and whether the emotions are labels."""
    captions = read_fid2captions(dataset / "fid2captions.json")
    wavs = find_wavs(dataset)
    text = read_kaldi(dataset / "text.txt") if (dataset / "text.txt").is_file() else {}
    labels_file = Path(args.labels or dataset / "labels.txt")
    if args.labels and not labels_file.is_file():
        raise SecError(f"{labels_file}: no such file of labels; check the path")
    labels = read_kaldi(labels_file) if labels_file.is_file() else {}
    words = {} if labels else load_words(args.words).get("emotion")
    if words is None:
        raise SecError(f"{args.words}: names no emotion; add its words, or give --labels")

    left_out, kept = {}, []
    for utt_id in sorted(captions.keys() | text.keys() | wavs.keys()):
        if utt_id not in wavs:
            left_out[utt_id] = "no recording"
        elif not captions.get(utt_id):
            left_out[utt_id] = "no caption"
        elif text and utt_id not in text:
            left_out[utt_id] = "no transcription"
        elif labels and utt_id not in labels:
            left_out[utt_id] = "no label"
        elif bad_id(utt_id):
            left_out[utt_id] = str(bad_id(utt_id))
        else:
            kept.append(utt_id)
    if not kept:
        raise SecError(f"{dataset}: no utterance has both recording and caption; {HOW_TO_GET}")
    if labels:
        emotions = {utt_id: "_".join(labels[utt_id].split()) for utt_id in kept}
    else:
        emotions = {utt_id: emotion(captions[utt_id], words) for utt_id in kept}
    speakers = {utt_id: speaker(utt_id) for utt_id in kept}
    everything = DataSet(wavs, captions, speakers, text, {"emo": emotions})
    return everything.subset(kept), left_out, bool(labels)


def split(data: DataSet, lists: dict[str, list[str]], args: argparse.Namespace) -> dict[str, list[str]]:
    """Ids of each set: those of its list that are there; valid and test drawn, train the rest, without a list."""
    owner: dict[str, str] = {}
    sets: dict[str, list[str]] = {}
    for name, ids in lists.items():
        for utt_id in ids:
            if utt_id in owner:
                raise SecError(
                    f"{shorten(utt_id)}: is in the lists of {owner[utt_id]} and {name}; remove it from one of them"
                )
            owner[utt_id] = name
        sets[name] = sorted(utt_id for utt_id in ids if utt_id in data.wav)
        if len(sets[name]) < len(ids):
            print(f"{name}: {len(ids) - len(sets[name])} of the {len(ids)} ids in its list are not usable")
    emotions = data.attributes["emo"]
    rest = {u: (data.spk[u], emotions[u]) for u in sorted(data.wav) if u not in owner}
    for number, name in enumerate(("test", "valid")):
        if name in sets:
            continue
        size = getattr(args, f"num_{name}")
        size = min(len(data.wav) // 10, HELD_OUT) if size is None else size
        if not 0 < size < len(rest):
            raise SecError(f"--num_{name} {size}: wants more than 0 and less than the {len(rest)} utterances left")
        sets[name], ids = draw_evenly(rest, size, 2 * args.seed + number)
        rest = {utt_id: rest[utt_id] for utt_id in ids}
    if "train" in sets and rest:
        print(f"{len(rest)} utterances are in none of the lists and not used")
    sets.setdefault("train", sorted(rest))
    for name in SETS:
        if not sets[name]:
            raise SecError(f"{name}: none of its utterances is there; check --{name}_ids and the recordings")
    return {name: sets[name] for name in SETS}


def strange_emotions(data: DataSet, sets: dict[str, list[str]]) -> dict[str, str]:
    """Take the utterances out of valid whose emotion train does not have, and say why."""
    emotions = data.attributes["emo"]
    known = {emotions[utt_id] for utt_id in sets["train"]}
    strange = {u: f"in valid, but train has no {emotions[u]}" for u in sets["valid"] if emotions[u] not in known}
    sets["valid"] = [utt_id for utt_id in sets["valid"] if utt_id not in strange]
    if not sets["valid"]:
        raise SecError("valid: train has the emotion of none of its utterances; choose another --valid_ids")
    return strange


def summary(sets: dict[str, DataSet]) -> str:
    """A table of utterances, speakers and captions, and the emotions of train."""
    lines = [f"{'set':6} {'utterances':>10} {'speakers':>8} {'captions':>8}"]
    for name, data in sets.items():
        captions = sum(map(len, data.captions.values()))
        lines.append(f"{name:6} {len(data.wav):10} {len(set(data.spk.values())):8} {captions:8}")
    counts = Counter(sets["train"].attributes["emo"].values()).most_common()
    lines.append("emotions in train: " + ", ".join(f"{category} {count}" for category, count in counts))
    return "\n".join(lines)


@cli
def main(argv=None) -> None:
    """Entry point."""
    args = get_parser().parse_args(argv)
    dataset = find_dataset(args.corpus)
    files = {name: getattr(args, f"{name}_ids") for name in SETS}
    if not any(files.values()):
        files = {name: str(dataset / f"{name}.txt") for name in SETS if (dataset / f"{name}.txt").is_file()}
    lists = {name: read_ids(path) for name, path in files.items() if path}
    data, left_out, labelled = collect(dataset, args)
    ids = split(data, lists, args)
    left_out |= strange_emotions(data, ids)
    for reason, count in Counter(left_out.values()).most_common():
        first = next(utt_id for utt_id in left_out if left_out[utt_id] == reason)
        print(f"warning: {count} utterances left out, {reason} ({shorten(first)}, ...); see {args.output}/left_out.tsv")
    sets = {name: data.subset(ids[name]) for name in SETS}
    if not labelled:  # not utt2emo, which would be the truth to score against
        sets["test"].attributes = {"emo_train": sets["test"].attributes["emo"]}
    make_dir(args.output)
    write_data_dirs(args.output, sets)
    with atomic_write(Path(args.output) / "left_out.tsv") as stream:
        stream.writelines(f"{shorten(utt_id, 300)}\t{reason}\n" for utt_id, reason in sorted(left_out.items()))
    print(summary(sets))


if __name__ == "__main__":
    main()

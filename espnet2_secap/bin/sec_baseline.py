"""Write captions made without a captioning model: baselines of the result table, human captions, labels."""

import argparse
import os
from pathlib import Path

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.io import make_dir, read_captions, read_kaldi, write_captions
from espnet2_secap.data.labels import read_classes, read_emotion_map
from espnet2_secap.decoder.options import Candidates
from espnet2_secap.errors import SecError, cli, shorten
from espnet2_secap.metric.baseline import SENTENCES, frequent_caption, held_out, label_captions, random_captions
from espnet2_secap.metric.words import load_words
from espnet2_secap.values import Seed

KINDS = {
    "random": "training captions drawn for each utterance",
    "frequent": "the most frequent training caption",
    "human": "one human caption of each utterance; the others are written to OUTPUT/references, to score it against",
    "label": "a sentence with the utterance's emotion label",
}


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_baseline."""
    parser = Parser(
        prog="sec_baseline",
        description="Give every utterance a caption without a captioning model: a training caption (random, frequent),"
        " a human caption (human), or the label of a human or of a classifier (label; see sec_classify). A system that"
        " scores no better than the first two has learned nothing from the audio; the others are rows of SECap's"
        " Figure 4.",
    )
    kinds = "; ".join(f"{name}: {what}" for name, what in KINDS.items())
    parser.add_argument("--kind", required=True, choices=list(KINDS), help=kinds)
    parser.add_argument("--train_captions", help="random, frequent: captions of the training set")
    parser.add_argument(
        "--ids",
        required=True,
        help="random, frequent: any file whose lines begin with the utterances' ids; where it is that of"
        " --train_captions, no utterance is given its own captions. human: captions; label: utt2emo",
    )
    parser.add_argument("--output", required=True, help="folder in which the file `captions` is written")
    parser.add_argument(
        "--n_candidates",
        type=of(Candidates),
        default=5,
        help="random: captions drawn per utterance (default: 5)",
    )
    parser.add_argument("--seed", type=of(Seed), default=0, help="random seed (default: 0)")
    parser.add_argument("--label_map", help="label: lines `label category`, labels in the words of --words")
    parser.add_argument("--words", default="zh", help="label: words that name emotions: zh, en, ja or a JSON file")
    parser.add_argument(
        "--lang", choices=list(SENTENCES), help="label: language of the sentence (default: --words, where it is one)"
    )
    parser.add_argument(
        "--sentence",
        help="label: sentence around the word, with {} in it; {} alone for the bare word (default: that of --lang, for"
        " zh: " + SENTENCES["zh"] + ")",
    )
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Write OUTPUT/captions."""
    args = get_parser().parse_args(argv)
    output, references = Path(args.output), None
    if args.kind == "human":
        captions, references = held_out(read_captions(args.ids))
        if left := len(read_kaldi(args.ids)) - len(captions):
            print(f"note: {left} utterances have one human caption only: they are left out")
    elif args.kind == "label":
        captions = _by_label(args)
    else:
        if not args.train_captions:
            raise SecError(f"--train_captions is missing: --kind {args.kind} takes captions from it")
        train, ids = read_captions(args.train_captions), sorted(read_kaldi(args.ids))
        if args.kind == "random":
            same_set = os.path.samefile(args.train_captions, args.ids)
            captions = random_captions(train, ids, args.n_candidates, args.seed, same_set)
        else:
            captions = frequent_caption(train, ids)
    make_dir(output)
    if references:
        write_captions(output / "references", references)
    write_captions(output / "captions", captions)
    print(f"{output}/captions: {args.kind} captions for {len(captions)} utterances")


def _by_label(args: argparse.Namespace) -> dict[str, list[str]]:
    categories = load_words(args.words).get("emotion")
    if categories is None:
        raise SecError(f"--words {args.words}: has no attribute emotion; give another words file")
    sentence = args.sentence or SENTENCES.get(args.lang or args.words)
    if sentence is None:
        raise SecError(f"--words {args.words}: in which language is the sentence? Give --lang or --sentence")
    if sentence.count("{}") != 1:
        raise SecError(f"--sentence {shorten(sentence)!r}: must have {{}} once, where the word stands")
    renamed = read_emotion_map(args.label_map) if args.label_map else {}
    return label_captions(read_classes(args.ids, renamed), categories, sentence)


if __name__ == "__main__":
    main()

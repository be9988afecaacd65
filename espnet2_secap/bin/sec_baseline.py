"""Write captions made without the audio: the baselines of the result table."""

import argparse
import os
from pathlib import Path

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.io import make_dir, read_captions, read_kaldi, write_captions
from espnet2_secap.decoder.options import Candidates
from espnet2_secap.errors import cli
from espnet2_secap.metric.baseline import frequent_caption, random_captions
from espnet2_secap.values import Seed


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_baseline."""
    parser = Parser(
        prog="sec_baseline",
        description="Give every utterance a training caption, at random or the most frequent one. A system that "
        "scores no better than these has learned nothing from the audio.",
    )
    parser.add_argument(
        "--kind",
        required=True,
        choices=["random", "frequent"],
        help="random: training captions drawn for each utterance; frequent: the most frequent training caption",
    )
    parser.add_argument("--train_captions", required=True, help="captions of the training set")
    parser.add_argument(
        "--ids",
        required=True,
        help="any file whose lines begin with the utterances' ids; where it is that of --train_captions, no utterance"
        " is given its own captions",
    )
    parser.add_argument("--output", required=True, help="folder in which the file `captions` is written")
    parser.add_argument(
        "--n_candidates",
        type=of(Candidates),
        default=5,
        help="captions drawn per utterance (default: 5); the most frequent caption is written once",
    )
    parser.add_argument("--seed", type=of(Seed), default=0, help="random seed (default: 0)")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Write OUTPUT/captions."""
    args = get_parser().parse_args(argv)
    train, ids = read_captions(args.train_captions), sorted(read_kaldi(args.ids))
    if args.kind == "random":
        same_set = os.path.samefile(args.train_captions, args.ids)
        captions = random_captions(train, ids, args.n_candidates, args.seed, same_set)
    else:
        captions = frequent_caption(train, ids)
    output = make_dir(Path(args.output)) / "captions"
    write_captions(output, captions)
    print(f"{output}: {args.kind} captions for {len(ids)} utterances")


if __name__ == "__main__":
    main()

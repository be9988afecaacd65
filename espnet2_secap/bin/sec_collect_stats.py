"""Stage 4: write the shape file of a set, from which ESPnet's samplers learn how long each utterance is; and, where
asked for, the sums over its features that `--normalize global_mvn` takes mean and variance from."""

import argparse

from espnet2_secap.cli_types import Parser
from espnet2_secap.errors import cli
from espnet2_secap.feats.shapes import write_shape_file


def get_parser() -> argparse.ArgumentParser:
    """The program's options."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--dir", required=True, help="dump/TAG/SET (utt2num_frames: `id frames,values`) or dump/raw/SET "
        "(utt2num_samples: `id samples`)")  # fmt: skip
    add("--output", required=True, metavar="FILE", help="such as exp/sec_stats/train/speech_shape")
    add(
        "--feats_stats",
        metavar="FILE",
        help="also this, such as exp/sec_stats/train/feats_stats.npz; reads all features",
    )
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Write the shape file and say how long the utterances are."""
    args = get_parser().parse_args(argv)
    if args.feats_stats:  # before the shape file, by which stage 5 sees that stage 4 has ended
        from espnet2_secap.feats.stats import write_feats_stats

        print(f"{args.feats_stats}: {write_feats_stats(args.dir, args.feats_stats)} frames")
    lengths = write_shape_file(args.dir, args.output).values()
    print(
        f"{args.output}: {len(lengths)} utterances, mean length {sum(lengths) / len(lengths):.1f}, "
        f"shortest {min(lengths)}, longest {max(lengths)}"
    )


if __name__ == "__main__":
    main()

"""Caption a set with the captions of the training utterances that are nearest by their features."""

import argparse

from espnet2_secap.cli_types import Parser, add_dataclass_arguments, of
from espnet2_secap.decoder.options import AgreementOptions
from espnet2_secap.errors import cli
from espnet2_secap.values import Count, Natural, Place


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_nearest."""
    parser = Parser(
        description=__doc__,
        epilog="An utterance is described by mean and standard deviation over time of what the model reads, each value"
        " standardised over the training set. Training utterances are weighted by exp(cosine / 0.1); of their captions"
        " the one with the highest weighted mean similarity to all of them is written. Nothing is trained: a model that"
        " scores no better has learned little beyond its features. An utterance is never its own neighbour.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--train_dir", required=True, help="Training set: folder with feats.scp, or wav.scp")
    parser.add_argument("--train_captions", required=True, help="Its captions; utterances without any are left out")
    parser.add_argument("--data_dir", required=True, help="Set to caption: folder with feats.scp, or wav.scp")
    parser.add_argument("--output", required=True, help="Folder in which the file `captions` is written")
    parser.add_argument(
        "--neighbours", type=of(Natural), default=0, help="Number of nearest training utterances that count; 0: all"
    )
    parser.add_argument(
        "--sec_model_file",
        type=of(Place | None),
        help="Model file, or folder of an experiment, whose encoder makes the features of audio; for stored features"
        " none is needed",
    )
    parser.add_argument("--batch_size", type=of(Count), default=16, help="Utterances that the encoder reads together")
    parser.add_argument("--device", default="cpu", help="Of the encoder: cpu, cuda or cuda:N")
    add_dataclass_arguments(parser, AgreementOptions)
    parser.add_argument(
        "--like",
        type=of(Place | None),
        metavar="DECODE_DIR",
        help="Choose as the decoding in this folder did: --agreement, --agreement_attributes and --words as the header"
        " of its candidates.jsonl has them",
    )
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Write OUTPUT/captions."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.inference.nearest import write_nearest

    count = write_nearest(args)
    print(f"{args.output}/captions: captions of the nearest training utterances for {count} utterances")


if __name__ == "__main__":
    main()

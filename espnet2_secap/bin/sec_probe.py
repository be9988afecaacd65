"""Linear probes of frozen Q-Embeddings for the emotion and for the spoken sentence."""

import argparse

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.errors import cli
from espnet2_secap.values import Count


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = Parser(
        description=__doc__,
        epilog="Each probe is a logistic regression on the outputs of the bridge, fitted on --train_dir and tested on"
        " --test_dirs. STMIL should lower the accuracy for the sentence, SCCL should raise that for the emotion. The"
        " result is a file next to each model file.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model_files", nargs="+", required=True, help="Model files of the first or second stage")
    parser.add_argument("--train_dir", required=True, help="Set to fit on: folder with feats.scp or wav.scp")
    parser.add_argument("--test_dirs", nargs="+", required=True, help="Sets to test on, pooled")
    parser.add_argument(
        "--label_dirs", nargs="+", required=True, help="Folders with their utt2emo and text, that of --train_dir first"
    )
    parser.add_argument("--output_name", default="probe.json", help="File to write next to each model file")
    parser.add_argument("--batch_size", type=of(Count), default=32, help="Utterances per batch")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    return parser


@cli
def main(argv=None) -> None:
    """Fit and test the probes for every model."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.inference.probe import probe_model

    for model_file in args.model_files:
        probe_model(model_file, args)


if __name__ == "__main__":
    main()

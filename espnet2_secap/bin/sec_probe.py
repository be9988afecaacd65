"""Tell what frozen Q-Embeddings know: linear probes for the emotion and for the sentence spoken."""

import argparse

from espnet2_secap.errors import cli


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Each probe is a logistic regression on the outputs of the bridge, fitted on --train_dir and tried on"
        " --test_dirs. STMIL is there to lower the sentence probe, SCCL to raise the emotion probe. Writes"
        " OUTPUT_DIR/probe.json for each model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model_files", nargs="+", required=True, help="Model files of either stage")
    parser.add_argument("--train_dir", required=True, help="Set to fit on: folder with feats.scp or wav.scp")
    parser.add_argument("--test_dirs", nargs="+", required=True, help="Sets to try on, taken together")
    parser.add_argument("--label_dirs", nargs="+", required=True, help="Their utt2emo and text: first of --train_dir")
    parser.add_argument("--output_name", default="probe.json", help="File beside each model file")
    parser.add_argument("--batch_size", type=int, default=32, help="Utterances embedded together")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    return parser


@cli
def main(argv=None) -> None:
    """Fit and try the probes for every model."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.inference.probe import probe_model

    for model_file in args.model_files:
        probe_model(model_file, args)


if __name__ == "__main__":
    main()

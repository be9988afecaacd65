"""Make an experiment of a released HTSAT-BART (WavCaps), which sec_caption, sec_inference and further training take."""

import argparse

from espnet2_secap.cli_types import Parser
from espnet2_secap.errors import cli


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = Parser(
        description=__doc__,
        epilog="Then: sec_caption --model exp/sec_htsat_bart --config conf/decode_htsat_bart.yaml a.wav. The checkpoint"
        " is of the captioning code of github XinhaoMei/WavCaps; facebook/bart-base is the BART of the released ones.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="best_model.pt, ac_best_model.pt or another of that code")
    parser.add_argument(
        "--bart",
        required=True,
        help="Folder or hub name of its BART, for configuration and tokenizer; the weights are the checkpoint's",
    )
    parser.add_argument("--output", required=True, help="Experiment folder to make, such as exp/sec_htsat_bart")
    return parser


@cli
def main(argv=None) -> None:
    """Import, and say which sizes were found."""
    args = get_parser().parse_args(argv)
    from espnet2_secap.publish.import_htsat_bart import import_htsat_bart

    sizes = import_htsat_bart(args.checkpoint, args.bart, args.output)
    told = ("patch_embeds_hidden_size", "depths", "num_attention_heads", "num_mel_bins", "hidden_size")
    print(f"{args.output}: HTSAT with {', '.join(f'{name} {sizes[name]}' for name in told)}")


if __name__ == "__main__":
    main()

"""Add copies of a training set's recordings: at other speeds, with noise, with reverberation, through a telephone."""

import argparse

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.distort import FORM, Decibel
from espnet2_secap.data.perturb import Speed, perturb, perturbations
from espnet2_secap.errors import SecError, cli
from espnet2_secap.values import Seed


def get_parser() -> argparse.ArgumentParser:
    """Options of sec_perturb_audio."""
    parser = Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="formatted audio, such as dump/raw/train")
    parser.add_argument("--output_dir", required=True, help="data directory to write: its utterances and their copies")
    parser.add_argument(
        "--speed_perturb", nargs="*", default=[], type=of(Speed), help="factors of the speed, one copy for each"
    )
    parser.add_argument(
        "--noise_snr", nargs="*", default=[], type=of(Decibel), help="signal-to-noise ratios in dB, one copy for each"
    )
    parser.add_argument(
        "--augment",
        nargs="*",
        default=[],
        metavar="KIND",
        help=f"{FORM}; one copy for each word. Without a value it is drawn for each recording: noise from 5 to 20 dB,"
        " the reverberation time from 0.2 to 0.8 s",
    )
    parser.add_argument("--seed", type=of(Seed), default=0, help="of what is drawn")
    return parser


@cli
def main(argv=None) -> None:
    """Entry point."""
    args = get_parser().parse_args(argv)
    kinds = perturbations(args.speed_perturb, args.noise_snr, args.augment)
    if not kinds:
        raise SecError("--speed_perturb, --noise_snr, --augment: none is given, so there would be no copies; give one")
    print(perturb(args.data_dir, args.output_dir, kinds, args.seed))


if __name__ == "__main__":
    main()

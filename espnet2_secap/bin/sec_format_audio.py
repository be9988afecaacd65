"""Check the recordings of a data directory and format them (stage 2)."""

import argparse

from espnet2_secap.cli_types import Parser, add_dataclass_arguments, from_args, of, str2bool
from espnet2_secap.data.format import FormatOptions, combine, format_job
from espnet2_secap.errors import cli
from espnet2_secap.values import Count


def get_parser() -> argparse.ArgumentParser:
    """Options of sec_format_audio: those of FormatOptions, and which job to run."""
    parser = Parser(
        description="Check the recordings of data/<set> and write them as mono audio of one sampling rate into"
        " dump/raw/<set>. First run every job (--job 1 to --nj, in parallel if you like), then once with"
        " --combine true, which writes wav.scp, utt2num_samples and bad_utts.tsv and copies the other files."
        " Repeat the command to resume an interrupted run. Unusable recordings (missing, empty, cut short, not"
        " audio, silent, NaN, too short or long) are left out of train and valid sets, counted, and listed with the"
        " reason in bad_utts.tsv; in a test set they are an error.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_dataclass_arguments(parser, FormatOptions)
    parser.add_argument("--job", type=of(Count), default=1, help="which of the jobs this is, from 1")
    parser.add_argument("--combine", type=str2bool, default=False, metavar="true|false", help="join what all jobs made")
    return parser


@cli
def main(argv=None) -> None:
    """Entry point."""
    args = get_parser().parse_args(argv)
    options = from_args(FormatOptions, args)
    options.check()
    if args.combine:
        print(combine(options))
    else:
        format_job(options, args.job)


if __name__ == "__main__":
    main()

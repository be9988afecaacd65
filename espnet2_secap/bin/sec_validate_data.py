"""Check a data directory and list every bad line in it."""

import argparse
import sys

from espnet2_secap.cli_types import str2bool
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.errors import SecError, cli


def get_parser() -> argparse.ArgumentParser:
    """Options of sec_validate_data."""
    parser = argparse.ArgumentParser(
        description="Check a data directory (wav.scp, captions, text, utt2spk, spk2utt, utt2emo, ...): readable"
        " UTF-8, sorted, unique ids, the same ids in every file, captions that are JSON lists, matching spk2utt and"
        " emo2utt. Lists every bad line as `file:line: id: what is wrong; what to do` and then exits with status 1."
        " Recordings are not opened; sec_format_audio checks them.",
    )
    parser.add_argument("dir", help="folder to check, such as data/train")
    parser.add_argument(
        "--require",
        nargs="*",
        default=[],
        metavar="FILE",
        help="required files, besides wav.scp: captions text utt2spk spk2utt utt2emo emo2utt ...",
    )
    parser.add_argument(
        "--allow_pipes",
        type=str2bool,
        default=False,
        help="accept commands (`sox x.mp3 -t wav - |`) in wav.scp; sec_format_audio runs them with the same option",
    )
    return parser


@cli
def main(argv=None) -> None:
    """Check the folder; exit status 1 if there is a problem."""
    args = get_parser().parse_args(argv)
    problems = validate_data_dir(args.dir, args.require, args.allow_pipes)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise SecError(f"{args.dir}: {len(problems)} problem(s), listed above; fix them and run this again")
    print(f"{args.dir}: good")


if __name__ == "__main__":
    main()

"""Check a data directory and list every bad line in it."""

import argparse
import sys

from espnet2_secap.cli_types import Parser, str2bool
from espnet2_secap.data.remarks import remarks
from espnet2_secap.data.validate import MISSING_TEXT, Leniency, validate_data_dir
from espnet2_secap.errors import SecError, cli


def get_parser() -> argparse.ArgumentParser:
    """Options of sec_validate_data."""
    parser = Parser(
        description="Check a data directory (wav.scp, captions, text, utt2spk, spk2utt, utt2emo, ...): readable"
        " UTF-8, sorted, unique ids, the same ids in every file, captions that are JSON lists, matching spk2utt and"
        " emo2utt; with a file segments, its ids are the utterances and those of wav.scp their recordings. Lists every"
        " bad line as `file:line: id: what is wrong; what to do` and then exits with status 1. Recordings are not"
        " opened; sec_format_audio checks them.",
    )
    parser.add_argument("dir", nargs="?", help="folder to check, such as data/train")
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
    parser.add_argument(
        "--missing_text",
        choices=MISSING_TEXT,
        help="utterances without a transcription: skip and empty accept them, as sec_format_audio does with this"
        " option; error accepts none; by default those that text has without words are accepted, and those that it"
        " lacks are not",
    )
    kaldi = parser.add_argument_group("Kaldi's options")
    flag = dict(action="store_true")
    kaldi.add_argument("--no-text", "--no_text", **flag, help="do not look at text")
    kaldi.add_argument("--no-wav", "--no_wav", **flag, help="wav.scp may be missing")
    for name in ("no-feats", "non-print", "no-spk-sort"):
        kaldi.add_argument(f"--{name}", f"--{name.replace('-', '_')}", **flag, help="accepted: this is not checked")
    return parser


@cli
def main(argv=None) -> None:
    """Check the folder; exit status 1 if there is a problem."""
    args = get_parser().parse_args(argv)
    if args.dir is None and args.require:  # Kaldi's order: the folder comes last
        args.dir = args.require.pop()
    if args.dir is None:
        raise SecError("give the folder to check, such as data/train")
    leniency = Leniency(args.missing_text, args.no_text, args.no_wav)
    problems = validate_data_dir(args.dir, args.require, args.allow_pipes, leniency)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise SecError(f"{args.dir}: {len(problems)} problem(s), listed above; fix them and run this again")
    for remark in remarks(args.dir, ("captions",) if args.no_text else ("captions", "text")):
        print(f"note: {remark}", file=sys.stderr)
    print(f"{args.dir}: good")


if __name__ == "__main__":
    main()

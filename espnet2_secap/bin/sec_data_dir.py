"""Subsets, unions and renamed copies of data directories, with the usage of Kaldi's scripts of these names."""

import argparse
import os
import shlex
import sys

from espnet2_secap.bin import sec_validate_data
from espnet2_secap.cli_types import Parser
from espnet2_secap.data.subsets import DataDir, choose, combine_dirs, read_data_dir
from espnet2_secap.data.text_file import read_names
from espnet2_secap.errors import SecError, cli

EPILOG = """\
utils/subset_data_dir.sh, utils/combine_data.sh and utils/copy_data_dir.sh call it:
  sec_data_dir subset [--first|--last|--shortest|--speakers|--per-spk] SRC NUMBER DEST
  sec_data_dir subset --utt-list FILE SRC DEST
  sec_data_dir subset --spk-list FILE SRC DEST
  sec_data_dir combine DEST SRC SRC ...
  sec_data_dir copy [--utt-prefix P] [--utt-suffix S] [--spk-prefix P] [--spk-suffix S] SRC DEST
captions, text, utt2emo and every other file with a line per utterance go with wav.scp, segments with their recordings.
"""
KINDS = ("first", "last", "shortest", "speakers", "per-spk")
AFFIXES = ("utt-prefix", "utt-suffix", "spk-prefix", "spk-suffix")


def get_parser() -> argparse.ArgumentParser:
    """The program's options."""
    parser = Parser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    subset = verbs.add_parser("subset", help="some of the utterances; by default a number of them, drawn at random")
    which = subset.add_mutually_exclusive_group()
    said = "the first NUMBER;the last;the shortest;so many speakers that they have NUMBER;NUMBER of each speaker"
    for kind, what in zip(KINDS, said.split(";"), strict=True):
        which.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, default="random", help=what)
    which.add_argument("--utt-list", metavar="FILE", help="the utterances whose ids begin the lines of FILE")
    which.add_argument("--spk-list", metavar="FILE", help="the utterances of the speakers that begin the lines of FILE")
    subset.add_argument("paths", nargs="*", metavar="SRC [NUMBER] DEST")
    combine = verbs.add_parser("combine", help="the utterances of several directories")
    combine.add_argument("--extra-files", default="", help="accepted: all files that every directory has are combined")
    combine.add_argument("--skip-fix", choices=("true", "false"), help="accepted: nothing is left to fix")
    combine.add_argument("paths", nargs="*", metavar="DEST SRC SRC")
    copy = verbs.add_parser("copy", help="the same utterances, with other ids or speakers where prefixes are given")
    for name in AFFIXES:
        copy.add_argument(f"--{name}", default="", help=f"{name[4:]} of every {name[:3]}")
    copy.add_argument("--extra-files", default="", help="accepted: all files with a line per utterance are copied")
    copy.add_argument("--validate-opts", default="", help="options of validate_data_dir.sh for the copy: '--no-text'")
    copy.add_argument("paths", nargs="*", metavar="SRC DEST")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Read, make and write."""
    args = get_parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    data, sources, dest, notes = {"subset": _subset, "combine": _combine, "copy": _copy}[args.verb](args)
    if any(os.path.realpath(dest) == os.path.realpath(source) for source in sources):
        raise SecError(f"{dest}: is a directory that is read, too; choose another one to write")
    data.write(dest)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{dest}: {len(data.ids())} utterances")
    if args.verb == "copy" and args.validate_opts:
        sec_validate_data.main([dest, *shlex.split(args.validate_opts)])


def _joined(argv: list[str]) -> list[str]:
    """`--utt_suffix -noise` as `--utt-suffix=-noise`: Kaldi's options have _ or -, and values may begin with -."""
    words, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, sign, value = word.partition("=")
            name = name.replace("_", "-")
            if not sign and name[2:] in (*AFFIXES, "validate-opts", "extra-files") and rest:
                sign, value = "=", rest.pop(0)
            word = f"{name}{sign}{value}"
        words.append(word)
    return words


def _subset(args: argparse.Namespace) -> tuple[DataDir, list[str], str, list[str]]:
    listed = args.utt_list or args.spk_list
    if len(args.paths) != (2 if listed else 3):
        raise SecError(f"subset: give {'SRC DEST' if listed else 'SRC NUMBER DEST'}; see --help")
    source, dest = args.paths[0], args.paths[-1]
    data = read_data_dir(source)
    if listed:
        wanted = set(read_names(listed))
        table = {utt: utt for utt in data.ids()} if args.utt_list else data.utterances.get("utt2spk", {})
        ids = [utt for utt, name in table.items() if name in wanted]
        lost = sorted(wanted - set(table.values()))
    elif not args.paths[1].isascii() or not args.paths[1].isdigit():
        raise SecError(f"{args.paths[1]}: must be a number of utterances; the order is SRC NUMBER DEST")
    else:
        ids, lost = choose(data, args.kind, int(args.paths[1]), source), []
    if not ids:
        raise SecError(f"{source}: no utterance is chosen; check {listed}")
    notes = [f"{len(lost)} names of {listed} are not in {source} ({', '.join(lost[:3])})"] if lost else []
    return data.subset(ids), [source], dest, notes


def _combine(args: argparse.Namespace) -> tuple[DataDir, list[str], str, list[str]]:
    if len(args.paths) < 2:
        raise SecError("combine: give DEST SRC [SRC ...]; see --help")
    dest, *sources = args.paths
    data, notes = combine_dirs(sources)
    return data, sources, dest, notes


def _copy(args: argparse.Namespace) -> tuple[DataDir, list[str], str, list[str]]:
    if len(args.paths) != 2:
        raise SecError("copy: give SRC DEST; see --help")
    source, dest = args.paths
    data = read_data_dir(source).renamed(
        lambda utt: f"{args.utt_prefix}{utt}{args.utt_suffix}", lambda spk: f"{args.spk_prefix}{spk}{args.spk_suffix}"
    )
    return data, [source], dest, []


if __name__ == "__main__":
    main()

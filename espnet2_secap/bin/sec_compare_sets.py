"""Tell which recordings, ids and speakers the sets of a corpus share, and labels in several spellings (stage 2)."""

import argparse

from espnet2_secap.cli_types import Parser
from espnet2_secap.data.overlap import compare_sets
from espnet2_secap.errors import cli


def get_parser() -> argparse.ArgumentParser:
    """The program's options."""
    parser = Parser(
        description=__doc__,
        epilog="Recordings are compared by content. Prints warnings and notes, and writes all that is shared to OUTPUT,"
        " one line each: what (recording, id, speaker), set and name, the other set and the name there.",
    )
    parser.add_argument("--train", required=True, help="training set, formatted: dump/raw/SET")
    parser.add_argument("--valid", required=True, help="validation set")
    parser.add_argument("--tests", nargs="*", default=[], help="test sets; --train and --valid may be among them")
    parser.add_argument("--output", required=True, help="table to write, such as dump/raw/overlap.tsv")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Compare, print and write."""
    args = get_parser().parse_args(argv)
    for line in compare_sets(args.train, args.valid, args.tests, args.output):
        print(line)


if __name__ == "__main__":
    main()

"""Run a training command and print one line per epoch, with the time left, from its log."""

import argparse
import sys
from pathlib import Path

from espnet2_secap.cli_types import Parser
from espnet2_secap.errors import SecError, cli
from espnet2_secap.process.follow import follow


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_follow."""
    parser = Parser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="ESPnet's train.log")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARG ...]")
    return parser


@cli
def main(argv=None) -> None:
    """Run the command, follow its log, and exit with its status."""
    args = get_parser().parse_args(argv)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise SecError("no command given: sec_follow --log LOG -- COMMAND [ARG ...]")
    status = follow(args.log, command)
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()

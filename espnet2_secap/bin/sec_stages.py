"""Record stages, wall time, peak memory and inputs of a run of sec.sh, and print a table of the stages."""

import argparse
import signal
import sys
from collections.abc import Sequence

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.errors import cli
from espnet2_secap.process.stages import append, read_stages, table, watch
from espnet2_secap.tasks.recipe import Recipe
from espnet2_secap.values import Count, Positive


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_stages."""
    parser = Parser(
        prog="sec_stages",
        description=f"{__doc__} utils/sec_functions.sh calls it: sec_stages watch in the background, sec_stages begin "
        "for each stage, sec_stages end when sec.sh ends.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    begin = actions.add_parser("begin", help="record that a stage begins (and the one before it ends)")
    watcher = actions.add_parser("watch", help="record the memory of the run's processes until its sec.sh ends")
    end = actions.add_parser("end", help="record the end of the run and print its table")
    for action in (begin, watcher, end):
        action.add_argument("--file", required=True, help="the record; lines are appended")
        action.add_argument("--run", required=True, help="name of the run: SEC_RUN in its processes' environment")
    for action in (begin, end):
        action.add_argument("--ended", type=of(Count), metavar="STAGE", help="the stage before, which has ended well")
        action.add_argument(
            "--recipe",
            nargs="+",
            default=[],
            metavar="NAME=VALUE",
            help="the options of sec.sh: what outputs are made from is noted beside them",
        )
    begin.add_argument("--stage", type=of(Count), required=True, help="number of the stage")
    begin.add_argument("--title", required=True, help="what the stage does, a few words")
    watcher.add_argument(
        "--pid", type=of(Count), required=True, help="process id of sec.sh, which must have started this"
    )
    watcher.add_argument("--interval", type=of(Positive), default=1.0, help="seconds between measurements (default: 1)")
    end.add_argument("--status", type=of(int), required=True, help="exit status of sec.sh")
    return parser


def note(options: Sequence[str], ended: int | None, begins: int | None = None) -> None:
    """Note beside the outputs of stages what they are made from, and that a stage has ended."""
    recipe = Recipe.of(options)
    if options and ended:
        recipe.has_ended(ended)
    if options and begins:
        recipe.begins(begins)


@cli
def main(argv: list[str] | None = None) -> None:
    """Do one of the actions."""
    args = get_parser().parse_args(argv)
    if args.action == "begin":
        append(args.file, args.run, "begin", args.stage, args.title)
        note(args.recipe, args.ended, args.stage)
    elif args.action == "watch":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the last peak is written on the way out
        watch(args.file, args.run, args.pid, args.interval)
    else:
        append(args.file, args.run, "end", args.status)
        print(table(read_stages(args.file, args.run)), end="")
        note(args.recipe, args.ended)


if __name__ == "__main__":
    main()

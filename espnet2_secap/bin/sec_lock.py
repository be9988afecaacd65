"""Take the lock of a recipe folder for a shell script, so that two runs never write the same files."""

import argparse
import os
import stat

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.errors import SecError, cli
from espnet2_secap.process.lock import VARIABLE, take
from espnet2_secap.values import Amount, Count, Natural


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_lock."""
    parser = Parser(
        prog="sec_lock",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog=f"""\
In the script:
  exec {{lock_fd}}<>"${{lock}}"
  {VARIABLE}=$(sec_lock --fd "${{lock_fd}}" --file "${{lock}}" --pid $$) || exit 1
  export {VARIABLE}
The script and its child processes hold the lock until the last of them has ended. If another run holds it, one line
names that run, and the exit status is 1. Processes on this machine that a killed run (kill -9) has left behind (all
with its {VARIABLE} in their environment) are ended first: by TERM, and by KILL after --patience.""",
    )
    add = parser.add_argument
    add(
        "--fd",
        type=of(Natural),
        required=True,
        help="file descriptor of the lock file in the script, open for reading and writing",
    )
    add("--file", required=True, help="path of the lock file, for messages")
    add("--pid", type=of(Count), default=os.getppid(), help="process id of the script (default: the parent process)")
    add("--patience", type=of(Amount), default=45.0, help="seconds between TERM and KILL (default: 45)")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Take the lock and print the run's name."""
    args = get_parser().parse_args(argv)
    try:
        regular = stat.S_ISREG(os.fstat(args.fd).st_mode)
        what = None if regular else "is not a regular file"
    except (OSError, OverflowError) as err:
        what = getattr(err, "strerror", None) or str(err)
    if what:
        raise SecError(f'--fd {args.fd}: {what}; open it in the script with exec {{lock_fd}}<>"{args.file}"')
    print(take(args.fd, args.file, args.pid, args.patience))


if __name__ == "__main__":
    main()

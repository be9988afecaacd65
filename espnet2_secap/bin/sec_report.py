"""Put all scores of an experiment folder into one report."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

from espnet2_secap.data.io import atomic_write, make_dir
from espnet2_secap.errors import cli
from espnet2_secap.report.collect import find_probes, find_scores, results
from espnet2_secap.report.curves import find_curves, plot_curves
from espnet2_secap.report.goals import goal_table, read_goals
from espnet2_secap.report.write import Report


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_report."""
    parser = argparse.ArgumentParser(
        prog="sec_report",
        description="Collect EXPDIR/<system>/<set>/score.json of every system and set, probe.json, and the curves.tsv "
        "of the trainings; write the report, EXPDIR/results.json and EXPDIR/images/training_curves.png; print the "
        "result tables.",
    )
    parser.add_argument("--expdir", default="exp", help="folder of the experiments (default: exp)")
    parser.add_argument("--output", help="the report, Markdown (default: EXPDIR/RESULTS.md)")
    parser.add_argument(
        "--examples",
        type=int,
        default=10,
        metavar="N",
        help="show captions of N utterances per set (default: 10)",
    )
    parser.add_argument(
        "--goals",
        help='JSON file of numbers to reach: {"<system>": {"<set>": {"<metric>": [">=", 85]}}}; the system may be a '
        'pattern, and "2.5 * random_caption" may stand for the number',
    )
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Write the report, print its tables and where it lies."""
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    expdir = Path(args.expdir)
    output = Path(args.output or expdir / "RESULTS.md")
    scores = find_scores(expdir)
    table = results(scores)
    goals = goal_table(read_goals(args.goals), table) if args.goals else None
    probes, curves = find_probes(expdir), find_curves(expdir)

    picture = expdir / "images" / "training_curves.png"
    if curves:
        plot_curves(curves, picture)
    report = Report(
        scores=scores,
        command=shlex.join(["sec_report", *argv]),
        probes=probes,
        goals=goals,
        picture=Path(os.path.relpath(picture, output.parent)).as_posix() if curves else None,
        examples=args.examples,
    )
    with atomic_write(expdir / "results.json") as stream:
        json.dump(table, stream, ensure_ascii=False, indent=1)
        stream.write("\n")
    make_dir(output.parent)
    with atomic_write(output) as stream:
        stream.write(report.markdown())
    print(report.text())
    print(f"Report: {output}\nNumbers: {expdir / 'results.json'}")
    print(f"Training curves: {picture}" if curves else f"No training curves: no {expdir}/sec_*/curves.tsv")


if __name__ == "__main__":
    main()

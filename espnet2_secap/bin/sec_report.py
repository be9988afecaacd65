"""Collect all scores of an experiment folder in one report, or compare two systems."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from espnet2_secap.cli_types import Parser, of, str2bool
from espnet2_secap.data.io import atomic_write, make_dir, write_json
from espnet2_secap.devices import check_device
from espnet2_secap.errors import SecError, cli
from espnet2_secap.metric.judge import Judge
from espnet2_secap.report.audio import Players
from espnet2_secap.report.collect import Score, find_probes, find_scores, results, without_stale
from espnet2_secap.report.compare import HOW, compare
from espnet2_secap.report.curves import find_curves, plot_curves
from espnet2_secap.report.goals import FORM, goal_table, read_goals
from espnet2_secap.report.page import page
from espnet2_secap.report.quoted import quotable, read_quoted
from espnet2_secap.report.resample import Resampled
from espnet2_secap.report.seeds import HOW as OVER_SEEDS
from espnet2_secap.report.seeds import compare_seeds
from espnet2_secap.report.wins import HOW as WINS
from espnet2_secap.report.write import Report, code
from espnet2_secap.values import Amount, Natural, Seed


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_report."""
    parser = Parser(
        prog="sec_report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Collect EXPDIR/<system>/<set>/score.json of every system and set (sec_score writes them), probe.json, and the
curves.tsv of the trainings; print the result tables and write
  EXPDIR/RESULTS.md                   tables ("Does it listen?" first: each system against itself on other audio, and
                                      against the captions of its nearest neighbours), first captions, curves, commands
  EXPDIR/RESULTS.tex                  the result tables for a paper: \\input{RESULTS}; needs booktabs and graphicx
  EXPDIR/RESULTS.html                 one file for a browser: sortable tables, a chart with 95% intervals, training
                                      curves, all captions with their recordings, and a search; it needs no other file
  EXPDIR/results.json                 all means and standard deviations
  EXPDIR/images/training_curves.png""",
        epilog="""\
Is the difference between two systems significant?
  sec_report --compare sec_caption_a/decode sec_caption_b/decode
prints difference, 95% interval and p for every metric and set that both have (names of systems as in the result
table), and how often the caption of A is better than that of B (win rate), and writes EXPDIR/compare.md and
EXPDIR/compare.json; the report is not changed. Of trainings with several seeds, and of several sets as one:
  sec_report --compare "kd_seed{seed}/decode" "ce_seed{seed}/decode" --seeds 0 1 2 --set male noisy --together true""",
    )
    parser.add_argument("--expdir", default="exp", help="folder of the experiments (default: exp)")
    parser.add_argument(
        "--output",
        help="Markdown file; the .tex and .html files (with --compare: .json) are written next to it (default: "
        "EXPDIR/RESULTS.md, EXPDIR/compare.md)",
    )
    parser.add_argument(
        "--examples",
        type=of(Natural),
        default=10,
        metavar="N",
        help="show captions of N utterances per set in the Markdown file (default: 10)",
    )
    parser.add_argument(
        "--goals",
        help=f"JSON file of goals: {FORM}; system and set may be patterns; shuffled_audio and nearest_caption are "
        'the rows of the system itself; "interval": the 95%% interval of the difference reaches the goal',
    )
    parser.add_argument(
        "--quote",
        choices=quotable(),
        help="append a paper's published results, marked as quoted, to the tables of sets whose name begins with test; "
        "secap: SECap's Table 2, for the corpus EMOSpeech",
    )
    parser.add_argument(
        "--embed_audio",
        type=of(Amount),
        default=20,
        metavar="MB",
        help="embed up to MB of recordings, as MP3 (about 250 s per MB), in the HTML file; the others are linked "
        "(default: 20; 0: link all)",
    )
    group = parser.add_argument_group("comparison of two systems")
    group.add_argument("--compare", nargs=2, metavar=("A", "B"), action="append", help="two systems; may be repeated")
    group.add_argument("--set", nargs="+", metavar="NAME", help="sets to compare on (default: all that both have)")
    group.add_argument(
        "--seeds", nargs="+", type=of(Seed), default=[], help="seeds of training, for {seed} in the names of A and B"
    )
    group.add_argument(
        "--together", type=str2bool, default=False, metavar="true|false", help="take the sets as one (default: false)"
    )
    group.add_argument("--metrics", nargs="+", metavar="NAME", help="metrics to compare (default: all that both have)")
    group.add_argument(
        "--judge",
        metavar="MODEL",
        help="folder or hub name of a causal LM: win rate by its choices too, in both orders (default: by truth alone)",
    )
    group.add_argument("--judge_cache", metavar="FILE", help="file that keeps the judge's answers")
    group.add_argument("--device", default="cpu", help="where the judge runs: cpu, cuda or cuda:N (default: cpu)")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Write the report or the comparison; print its tables and the paths of the files."""
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    if (args.set or args.metrics) and not args.compare:
        raise SecError(
            "--set, --metrics: can only be used with --compare A B; the report contains all sets and metrics"
        )
    if (args.seeds or args.together) and not args.compare:
        raise SecError("--seeds, --together: can only be used with --compare A B")
    if args.judge and (args.seeds or args.together):
        raise SecError("--judge: compares the captions of one seed and one set; leave --seeds and --together out")
    if args.judge and not args.compare:
        raise SecError("--judge: can only be used with --compare A B; for one system see sec_score --judge")
    output = Path(args.output or Path(args.expdir) / ("compare.md" if args.compare else "RESULTS.md"))
    if output.suffix in (".tex", ".html", ".json"):
        raise SecError(f"--output {output}: must be the Markdown file (.md); the others are written next to it")
    scores, left_out = without_stale(find_scores(args.expdir))
    for message in left_out:
        print(f"sec_report: warning: {message}", file=sys.stderr)
    command = shlex.join(["sec_report", *argv])
    if args.compare:
        write_comparison(scores, args, command, output)
    else:
        write_report(scores, args, command, output)


def write_comparison(scores: list[Score], args: argparse.Namespace, command: str, output: Path) -> None:
    """Compare each pair of systems; print it, write Markdown and JSON."""
    check_device(args.device)
    resampled, how = Resampled(), f"{HOW} {WINS}"
    if args.seeds or args.together:
        chosen, how = (args.seeds, args.set, args.metrics, args.together, resampled), OVER_SEEDS
        comparisons = [one for pair in args.compare for one in compare_seeds(scores, tuple(pair), *chosen)]
    else:
        judge = Judge(args.judge, args.judge_cache, args.device) if args.judge else None
        chosen = (args.set, args.metrics, resampled, True, judge)
        comparisons = [one for pair in args.compare for one in compare(scores, tuple(pair), *chosen)]
    numbers = output.with_suffix(".json")
    make_dir(output.parent)
    with atomic_write(output) as stream:
        parts = [
            f"# Comparison\n\nWritten by {code(command)}.\n",
            *(one.markdown() for one in comparisons),
            f"{how}\n",
        ]
        stream.write("\n".join(parts))
    write_json(numbers, [one.numbers() for one in comparisons])
    print("\n".join(one.text() for one in comparisons))
    print(f"{how}\nComparison: {output}\nNumbers: {numbers}")


def write_report(scores: list[Score], args: argparse.Namespace, command: str, output: Path) -> None:
    """Write the report in all formats; print its tables."""
    expdir = Path(args.expdir)
    table = results(scores)
    resampled = Resampled()
    goals = goal_table(read_goals(args.goals), scores, resampled) if args.goals else None
    left_out: list[str] = []
    probes, curves = find_probes(expdir, left_out), find_curves(expdir)
    for message in left_out:
        print(f"sec_report: warning: {message}", file=sys.stderr)

    picture = expdir / "images" / "training_curves.png"
    if curves:
        plot_curves(curves, picture)
    report = Report(
        scores=scores,
        command=command,
        probes=probes,
        goals=goals,
        picture=Path(os.path.relpath(picture, output.parent)).as_posix() if curves else None,
        examples=args.examples,
        quoted=read_quoted(args.quote) if args.quote else None,
        resampled=resampled,
    )
    write_json(expdir / "results.json", table)
    make_dir(output.parent)
    texts = {
        output: report.markdown(),
        output.with_suffix(".tex"): report.latex(),
        output.with_suffix(".html"): page(
            report, picture.read_bytes() if curves else None, Players(output, args.embed_audio)
        ),
    }
    for path, text in texts.items():
        with atomic_write(path) as stream:
            stream.write(text)
    print(report.text())
    print(f"Report: {output}\nFor papers: {output.with_suffix('.tex')}\nFor a browser: {output.with_suffix('.html')}")
    print(f"Numbers: {expdir / 'results.json'}")
    print(f"Training curves: {picture}" if curves else f"No training curves: no {expdir}/sec_*/curves.tsv")


if __name__ == "__main__":
    main()

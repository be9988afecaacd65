"""How often does a stage that was killed with -9 end as if nothing had been? Random kills, counted."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / "test")]

from interruption import Trial, differences, outputs, stage_seconds  # noqa: E402
from recipe import SMALL_CORPUS, recipe_folder, run  # noqa: E402

STAGES = [2, 3, 4, 5, 6, 7, 8]


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="A run is one stage of mini_emospeech at test size, killed 1 to --most times in a row, then run to its "
        "end; what it made is compared with an undisturbed run, byte by byte (of trainings: curves without times, and "
        "the tensors of all models). Half of the runs lose all their processes at once, half a single one each time. "
        "To repeat a run: its --seed and --stages with --runs 1.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=int, default=100, help="over all stages, in turn")
    add("--stages", type=int, nargs="+", default=STAGES, choices=STAGES, metavar="N", help="which ones")
    add("--most", type=int, default=3, help="kills in a run")
    add("--kind", choices=["all", "one", "both"], default="both", help="which processes are killed")
    add("--seed", type=int, default=0, help="of the first run; the next one has the next")
    add("--work", help="folder for the undisturbed recipe, which is kept there; a temporary one if none")
    add("--output", help="JSON file to write after every run")
    return parser


def undisturbed(work: Path) -> tuple[Path, dict[int, float]]:
    """The recipe after all its stages, made where it is not there yet, and how long each stage took."""
    folder, printed = work / "undisturbed", work / "printed.txt"
    if not printed.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        say(f"all stages undisturbed, in {folder}")
        done = run(recipe_folder(REPO, "mini_emospeech", folder), "--local_data_opts", SMALL_CORPUS)
        if done.returncode:
            sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
        printed.write_text(done.stdout)
    return folder, stage_seconds(printed.read_text())


def one_run(reference: Path, seconds: float, stage: int, seed: int, most: int, kind: str) -> dict:
    """Kill, go on, compare."""
    draw = random.Random(f"{seed} {stage} run")
    kills, alone = draw.randint(1, most), {"all": False, "one": True}.get(kind, draw.random() < 0.5)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills.") as top:
        folder = shutil.copytree(reference, Path(top) / "recipe", symlinks=True)
        trial = Trial(folder, stage, seconds, seed, alone)
        problems = trial.run(kills)
        problems += differences(outputs(reference, stage), outputs(folder, stage))
    return {
        "stage": stage,
        "seed": seed,
        "kind": "one" if alone else "all",
        "kills": sum(not one.startswith("ended before") for one in trial.killed),
        "killed": trial.killed,
        "equal": not problems,
        "problems": problems[:10],
        "seconds": round(time.monotonic() - start, 1),
    }


def table(results: list[dict]) -> str:
    """Stages by runs, kills and equal ends."""
    lines = ["| stage | runs | kills | ended equal | others: seeds |", "|---|---:|---:|---:|---|"]
    for stage in [*sorted({one["stage"] for one in results}), "all"]:
        some = [one for one in results if stage in (one["stage"], "all")]
        bad = ", ".join(str(one["seed"]) for one in some if not one["equal"]) if stage != "all" else ""
        kills, equal = sum(one["kills"] for one in some), sum(one["equal"] for one in some)
        lines.append(f"| {stage} | {len(some)} | {kills} | {equal} | {bad} |")
    return "\n".join(lines)


def say(text: str) -> None:
    """A line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run all, print the table; exit status 1 where a run did not end equal."""
    args = get_parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="kills.") as temporary:
        reference, seconds = undisturbed(Path(args.work or temporary))
        say("seconds by stage: " + ", ".join(f"{stage}: {seconds[stage]:.0f}" for stage in args.stages))
        results = []
        for at in range(args.runs):
            stage = args.stages[at % len(args.stages)]
            results.append(one_run(reference, seconds[stage], stage, args.seed + at, args.most, args.kind))
            one = results[-1]
            verdict = "equal" if one["equal"] else f"NOT EQUAL: {one['problems']}"
            how = f"stage {stage}, seed {one['seed']}, {'; '.join(one['killed'])}"
            say(f"{at + 1}/{args.runs} ({one['seconds']} s): {how}: {verdict}")
            if args.output:
                Path(args.output).write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    print(table(results))
    sys.exit(not all(one["equal"] for one in results))


if __name__ == "__main__":
    main()

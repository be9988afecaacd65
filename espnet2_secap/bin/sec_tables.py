"""The tables of a paper by one command: plan the experiments, run what is missing, write the tables and the claims."""

import argparse
import contextlib
import os
import shlex
import sys
from pathlib import Path

from espnet2_secap.cli_types import Parser, of, str2bool
from espnet2_secap.data.io import atomic_write, make_dir, read_kaldi, write_json
from espnet2_secap.errors import SecError, cli, listed
from espnet2_secap.process.graph import Job, run_jobs
from espnet2_secap.process.stages import clock
from espnet2_secap.report import paper_tables, table_pages
from espnet2_secap.report.collect import Score, find_scores
from espnet2_secap.tasks.fold_recipe import link_recipe
from espnet2_secap.tasks.recipe import Recipe
from espnet2_secap.tasks.table_plan import EXP, RECORDS, Clock, Experiment, Plan
from espnet2_secap.tasks.tables import OWN, TableFile
from espnet2_secap.values import Natural, Seed, check_keys

MEMORY = 2 << 30  # bytes that must be free for an experiment to start beside others


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_tables."""
    parser = Parser(
        prog="sec_tables",
        description=f"{__doc__} run_tables.sh calls it in a recipe's folder. The experiments are runs of run.sh in"
        " FOLDER, which has its own data, features and exp; repeat the command to resume.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--systems", default="conf/tables.yaml", help="YAML file of systems, tables and claims (docs/tables.md)")
    add("--tables", nargs="+", default=[], metavar="ID", help="tables of that file; none: all")
    add("--seeds", nargs="+", type=of(Seed), default=[0], help="seeds of training and decoding")
    add("--jobs", type=of(Natural), default=0, help="experiments at the same time; 0: one per core")
    add("--folds", type=of(Natural), default=0, help="cross-validation in so many folds; 0: the recipe's own sets")
    add("--folder", default="tables", help="where the experiments run")
    add("--output", default="exp/TABLES.md", help="Markdown file; .tex, .html and .json are written next to it")
    add("--dry_run", type=str2bool, default=False, metavar="true|false", help="print the plan and stop")
    add("--options", default="", help='further options of run.sh for all experiments: "--inference_nj 2"')
    return parser


def run_options(words: str, file: TableFile) -> dict[str, str]:
    """--options as name -> value.

    Raises:
        SecError: not pairs, or an option that the plan gives itself.
    """
    try:
        parts = shlex.split(words)
    except ValueError as err:
        raise SecError(f"--options {words}: {err}; close the quotation mark") from None
    names, values = parts[::2], parts[1::2]
    if len(parts) % 2 or not all(name.startswith("--") for name in names):
        raise SecError(f"--options {words}: must be pairs --name value of run.sh")
    given = dict(zip((name[2:].replace("-", "_") for name in names), values, strict=True))
    check_keys("--options", given, file.known - set(OWN))
    return given


def show_plan(plan: Plan, times: Clock, jobs: int) -> list[Experiment]:
    """Print the plan; return what is to be done."""
    todo = []
    users: dict[str, int] = {}
    for one in plan.experiments.values():
        for other in one.after:
            users[other] = users.get(other, 0) + 1
    print(f"{'experiment':32} {'state':8} {'time':>8}  what")
    for one in plan.experiments.values():
        done, took = plan.is_done(one), times.seconds(one)
        todo += [] if done else [one]
        shared = f" (for {users[one.name]})" if users.get(one.name, 0) > 1 else ""
        shown = "-" if done else "?" if took is None else clock(took)
        print(f"{one.name:32} {'done' if done else 'to run':8} {shown:>8}  {one.title}{shared}")
    for system, lacks in plan.left_out.items():
        print(f"{system:32} {'left out':8} {'-':>8}  this version has no {listed(lacks)}")
    known = [times.seconds(one) for one in todo]
    unknown = sum(took is None for took in known)
    total = sum(filter(None, known)) / max(1, min(jobs, len(todo)))
    how = "from earlier runs" if times.measured else "from a short timing"
    more = f", without {unknown} of unknown length" if unknown else ""
    shown = f"{len(todo)} of {len(plan.experiments)} experiments to run, {jobs} at a time"
    print(f"{shown}: about {clock(total)} ({how}{more})")
    return todo


def run_plan(plan: Plan, todo: list[Experiment], jobs: int) -> str:
    """Run the experiments; return what the first that failed says, "" if none has."""
    make_dir(RECORDS)

    def ended(job: Job, seconds: float) -> None:
        prints = plan.prints[job.name]
        write_json(f"{RECORDS}/{job.name}.json", {"made_from": prints, "seconds": round(seconds, 1)})
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in dict.fromkeys(line for line in lines if line.startswith("warning: ")):
            print(f"{job.name}: {line}")  # a fold without a category, for example

    work, names = [], {one.name for one in todo}
    for one in todo:
        make_dir(one.folder)
        after = [name for name in one.after if name in names]
        log = one.folder / "run.log"
        at_once = 1 if one.name == "data" else 0  # it has all cores
        work.append(Job(one.name, one.command(), log, after, one.alone or "data" * at_once, MEMORY))
    failures = run_jobs(work, 1 if plan.folds else jobs, ended)
    if not failures:
        return ""
    first = failures[0]
    more = f"; {len(failures) - 1} others did not run or failed too" if len(failures) > 1 else ""
    return f"{first.job.name}: {first.reason}; its log is {Path.cwd() / first.job.log}{more}; repeat to resume"


def read_scores(plan: Plan) -> dict[str, dict[int, Score]]:
    """system -> seed -> score, of the experiments that are done."""
    try:
        found = {(score.system, score.dset): score for score in find_scores(plan.scores)}
    except SecError:
        return {}
    dset, output = plan.file.conf.dset, {}
    for one in plan.experiments.values():
        if one.system and plan.is_done(one):
            output.setdefault(one.system, {})[one.seed] = found[(plan.score_name(one.system, one.seed), dset)]
    return output


def sections_of(plan: Plan, tables: list[str]) -> list[table_pages.Section]:
    """Each table, its claims, and both again on each subset."""
    file, conf = plan.file, plan.file.conf
    seeds = paper_tables.Seeds(read_scores(plan))
    pages, subsets = [], {"": seeds}
    for value, name in conf.subsets.items():
        path = Path("data") / conf.dset / name
        if path.is_file() and not plan.folds:
            ids = [utt for utt, kind in read_kaldi(path).items() if kind == value]
            subsets |= {value: seeds.subset(ids)} if ids else {}
    for name in tables:
        table = file.tables[name]
        for subset, chosen in subsets.items():
            where = f", {subset} ({len(chosen.ids)} utterances)" if chosen.ids is not None else ""
            rows = file.rows(name)
            shown, notes = paper_tables.paper_table(
                table.columns, table.metrics, rows, chosen, conf.reference, conf.metric
            )
            pages.append(table_pages.Section(f"Table {name}: {table.title}{where}", shown, notes))
            if file.claims[name]:
                claims = paper_tables.claim_table(file.claims[name], chosen, conf.metric)
                pages.append(table_pages.Section(f"Claims of Table {name}{where}", claims))
    return pages


def write_tables(plan: Plan, tables: list[str], output: Path, command: str) -> None:
    """Write TABLES.md, .tex, .html and .json; print the tables."""
    sections = sections_of(plan, tables)
    conf = plan.file.conf
    seeds = f"seeds {' '.join(map(str, plan.seeds))}"
    folds = f", all recordings in {plan.folds} folds" if plan.folds else ""
    about = f"{conf.paper}{folds}, per cent, {seeds}. {paper_tables.HOW} Written by: {command}"
    texts = {
        ".md": table_pages.markdown("Tables", about, sections),
        ".tex": table_pages.tex("sec_tables", sections),
        ".html": table_pages.page("Tables", about, sections),
    }
    make_dir(output.parent)
    for suffix, text in texts.items():
        with atomic_write(output.with_suffix(suffix)) as stream:
            stream.write(text)
    rows = [
        {
            "section": one.title,
            "header": one.table.header,
            "rows": [[cell.plain() for cell in row] for row in one.table.rows],
        }
        for one in sections
        if one.table
    ]
    write_json(output.with_suffix(".json"), {"command": command, "seeds": plan.seeds, "sections": rows})
    print("\n".join(section.text() for section in sections))
    print(f"Tables: {output}\nFor papers: {output.with_suffix('.tex')}\nFor a browser: {output.with_suffix('.html')}")


@cli
def main(argv: list[str] | None = None) -> None:
    """Plan, run, report."""
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    if args.folds == 1:
        raise SecError("--folds 1: must be 2 or more, or 0 for the recipe's own sets")
    if Path(args.output).suffix != ".md":
        raise SecError(f"--output {args.output}: must be the Markdown file (.md); the others are written next to it")
    file = TableFile(args.systems)
    tables = file.choose([one for word in args.tables for one in word.split()]) or list(file.tables)
    options = run_options(args.options, file)
    jobs = args.jobs or os.cpu_count() or 1
    output, command = Path(args.output).resolve(), shlex.join(["sec_tables", *argv])
    records = [Path(EXP).resolve() / ".stages.tsv"]
    for needed in ("run.sh", "sec.sh", "path.sh"):
        if not Path(needed).is_file():
            raise SecError(f"{needed}: is not here; run it in a recipe's folder, such as egs2/mini_emospeech/sec1")
    folder = Path(args.folder)
    back = os.path.relpath(os.path.realpath("."), os.path.realpath(folder))
    with (
        in_folder(folder, back, file.conf.own_data) if folder.is_dir() or not args.dry_run else contextlib.nullcontext()
    ):
        plan = Plan(file, tables, args.seeds, args.folds, options, jobs, back)
        todo = show_plan(plan, Clock(plan, records), jobs)
        if args.dry_run:
            return
        failed = run_plan(plan, todo, jobs)
        if not failed or any(one.system and plan.is_done(one) for one in plan.experiments.values()):
            write_tables(plan, tables, output, command)
        if failed:
            raise SecError(failed)


@contextlib.contextmanager
def in_folder(folder: Path, back: str, own_data: bool):
    """Within the folder of the tables: a recipe folder of links to this one, with its own exp, and data if wanted."""
    make_dir(folder)
    for name in () if own_data else ("data", "dump", "pretrained"):
        make_dir(name)
        if not os.path.lexists(folder / name):
            os.symlink(f"{back}/{name}", folder / name)
    link_recipe(folder, back, Recipe({"dumpdir": "dump", "expdir": "exp"}), [folder.parts[0]])
    if not os.path.lexists(folder / "run.sh"):
        os.symlink(f"{back}/run.sh", folder / "run.sh")
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    main()

"""Cross-validation: make the recipe folders of the folds, and pool what they have made."""

import argparse
import os
import sys
from pathlib import Path

from espnet2_secap.cli_types import Parser
from espnet2_secap.data import folds
from espnet2_secap.data.io import atomic_write
from espnet2_secap.errors import cli
from espnet2_secap.report.collect import find_scores, without_stale
from espnet2_secap.report.fold_table import fold_table
from espnet2_secap.tasks import fold_recipe
from espnet2_secap.tasks.recipe import Recipe


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_folds."""
    parser = Parser(
        prog="sec_folds",
        description=f"{__doc__} utils/sec_folds.sh calls it in a recipe's folder where sec.sh is given --folds N. Each"
        " recording is tested in one fold. FOLDER/1 to FOLDER/N hold lists and links, no copy of audio or features.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    make = verbs.add_parser("make", help="write FOLDER/1 to FOLDER/N, recipe folders with a run.sh, and FOLDER/test")
    pool = verbs.add_parser("pool", help="join the captions of all folds in FOLDER/exp; print the folders made")
    table = verbs.add_parser("table", help="write FOLDER/exp/folds.tsv: each metric on each fold, its mean and spread")
    for verb in (make, pool, table):
        verb.add_argument("--folder", required=True, help="folder of the folds, such as folds/10")
    for verb in (make, pool):
        verb.add_argument("options", nargs="+", metavar="NAME=VALUE", help="the options of sec.sh, all of them")
    return parser


def make(folder: Path, recipe: Recipe) -> None:
    """Divide the recordings and write all folds."""
    options = fold_recipe.fold_options(recipe)
    seed, number = int(recipe.fold_seed), int(recipe.folds)
    feats_dir = None if recipe.raw else recipe.feats_dir
    pool = folds.read_pool(recipe.dumpdir, feats_dir, recipe.sets, recipe.copies)
    speakers = pool.speakers()
    parts = folds.divide(speakers, pool.labels, number, recipe.fold_by, seed)
    made = folds.make_folds(parts, speakers, pool.labels, seed)
    first, last = max(4, int(recipe.stage)), min(8, int(recipe.stop_stage))
    done = 0
    for at, fold in enumerate(made, 1):
        home = folder / str(at)
        home.mkdir(parents=True, exist_ok=True)
        back = os.path.relpath(os.path.realpath("."), os.path.realpath(home))
        folds.write_fold(home, fold, pool, recipe.feats_dir, back, recipe.copies)
        fold_recipe.link_recipe(home, back, recipe)
        made_from = fold_recipe.made_of(recipe, options, vars(fold))
        done += fold_recipe.prepare(home, at, made_from, options, first, last)
    folds.write_references(folder / "test", pool)
    for note in [*pool.notes, *folds.lost_emotions(made, pool.labels)]:
        print(note)
    sizes = {name: sorted(len(getattr(fold, name)) for fold in made) for name in folds.SETS}
    told = ", ".join(f"{name} {some[0]}" + f" to {some[-1]}" * (some[0] < some[-1]) for name, some in sizes.items())
    print(
        f"{folder}: {len(speakers)} recordings of {len(set(speakers.values()))} speakers; recordings of a fold: {told}"
    )
    if done:
        print(f"{done} of {number} folds are finished")


@cli
def main(argv: list[str] | None = None) -> None:
    """Do one of the verbs."""
    args = get_parser().parse_args(argv)
    folder = Path(args.folder)
    if args.verb == "make":
        make(folder, Recipe.of(args.options))
    elif args.verb == "pool":
        recipe = Recipe.of(args.options)
        made, warned = folds.pool_captions(folder, fold_recipe.decoded(recipe))
        for warning in warned:
            print(warning, file=sys.stderr)
        print("\n".join(map(str, made)))
    else:
        scores, _ = without_stale(find_scores(folder / "exp"))
        with atomic_write(folder / "exp" / "folds.tsv") as stream:
            stream.writelines("\t".join(row) + "\n" for row in fold_table(scores, folds.tested(folder)))
        print(f"By fold: {folder / 'exp' / 'folds.tsv'}")


if __name__ == "__main__":
    main()

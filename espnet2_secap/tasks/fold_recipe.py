"""The recipe folder of a fold: links to the recipe's own files, run.sh with its options, and whether it is finished."""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet2_secap.errors import SecError
from espnet2_secap.process import made
from espnet2_secap.process.files import atomic_write
from espnet2_secap.process.jobs import fingerprint, stamps
from espnet2_secap.tasks.recipe import Recipe

WANTED, FINISHED = ".wanted", "exp/.finished"  # what a run of a fold will have done, and what it has done
PARTS = "pretrained"  # its parts are linked one by one, so that local/fold.sh can make one anew
OWN = ("data", "dump", "exp", "folds", "tables", "run.sh", PARTS)
HOLD_OPTIONS = ("_args", "_opts")  # endings of options that hold those of a program
BELOW_EXP = ("align_exp", "sec_exp", "sec_stats_dir")
# Options that do not decide on what a fold makes.
FREE = (
    "stage stop_stage nj inference_nj train_threads train_nproc num_nodes ngpu gpu_inference python batch_seconds lock"
    " fold_jobs local_data_opts goals quote"
).split()


def fold_options(recipe: Recipe) -> dict[str, str]:
    """The options of sec.sh for each fold, but for its stages.

    Raises:
        SecError: an experiment would lie outside of the fold.
    """
    here = {"dumpdir": "dump", "expdir": "exp", "lock": ".lock", "skip_score": "true"}
    sets = {"train_set": "train", "valid_set": "valid", "test_sets": "test"}
    none = dict.fromkeys(("folds", "local_data_opts", "goals", "quote"), "")
    derived = {"feats_dir", "feats_scp", "decode_dir", "lm_prompts", "trained_set"}
    known = set(recipe.options) - {"stage", "stop_stage"} - derived
    options = {name: recipe.options[name] for name in recipe.options if name in known}
    options |= {name: quoted(recipe.arguments(name)) for name in options if name.endswith(HOLD_OPTIONS)}
    options |= here | sets | none
    for name in ("text_file", "train_text_file"):  # a fold is another folder
        options[name] = os.path.abspath(options[name]) if options.get(name) else ""
    for name in BELOW_EXP:
        inside = os.path.relpath(getattr(recipe, name), recipe.expdir)
        if inside.startswith(".."):
            raise SecError(
                f"--{name} {getattr(recipe, name)}: with --folds it must lie below --expdir {recipe.expdir}, since each"
                " fold has its own; give --sec_tag NAME instead"
            )
        options[name] = f"exp/{inside}"
    return options


def quoted(words: Sequence[str]) -> str:
    """Words as `split` of utils/sec_functions.sh reads them from one argument."""
    around = ("'" if '"' in word else '"' if not word or re.search(r"[\s']", word) else "" for word in words)
    return " ".join(f"{quote}{word}{quote}" for quote, word in zip(around, words, strict=True))


def decoded(recipe: Recipe) -> str:
    """Name of the system that stage 7 makes, such as sec_caption_hubert/decode."""
    return os.path.relpath(recipe.decode_dir, recipe.expdir)


def made_of(recipe: Recipe, options: Mapping[str, str], lists: Mapping[str, list]) -> str:
    """A fingerprint of what a fold's outputs depend on, but for the weights of parts that are only named.

    Args:
        options: of the fold.
        lists: of the fold: set -> ids.
    """
    counting = {name: value for name, value in options.items() if name not in FREE}
    scores = {recipe.goals, recipe.words} - set(recipe.agreed_words())
    files = [str(path) for path in sorted(Path("conf").glob("*")) if path.is_file() and str(path) not in scores]
    words = [word.split("=")[-1] for value in counting.values() for word in value.replace(":", " ").split()]
    files += ["local/fold.sh", *recipe.agreed_words(), *sorted(set(words) - scores)]
    files += [file for stage in (2, 3) for found in recipe.folders(stage).values() for file in found[0]]
    files += [f"{recipe.dumpdir}/raw/{dset}/{name}" for dset in recipe.sets for name in ("captions", "text")]
    files += [file for dset in recipe.fed for file in _shards(f"{recipe.feats_dir}/{dset}")]
    digests = {path: made.digest(path) for path in files if os.path.isfile(path)}
    return fingerprint([counting, lists, digests, stamps([PARTS])])


def _shards(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("data/feats.*.json"))


def link_recipe(folder: Path, back: str, recipe: Recipe, left_out: Sequence[str] = ()) -> None:
    """Link what the recipe's folder holds, but for data and outputs, into a fold's; what is there already is kept.

    Args:
        folder: of the fold.
        back: from that folder to the recipe's.
        left_out: further names that are not linked.
    """
    own = {*OWN, *left_out, *(Path(getattr(recipe, name)).parts[0] for name in ("dumpdir", "expdir"))}
    names = [name for name in os.listdir(".") if name not in own and not name.startswith(".")]
    if os.path.isdir(PARTS):
        (folder / PARTS).mkdir(exist_ok=True)
        names += [f"{PARTS}/{name}" for name in os.listdir(PARTS) if not name.startswith(".")]
    for name in names:
        if not os.path.lexists(folder / name):
            os.symlink(("../" if "/" in name else "") + f"{back}/{name}", folder / name)


def prepare(folder: Path, number: int, made_from: str, options: Mapping[str, str], first: int, last: int) -> bool:
    """Write run.sh of a fold, and note what it will have done when it has ended.

    Args:
        folder: of the fold.
        number: of the fold.
        made_from: see `made_of`.
        first, last: the stages that are wanted.

    Returns:
        whether it is done already.
    """
    done = _stages(folder / FINISHED, made_from)
    todo = [stage for stage in range(first, last + 1) if stage not in done]
    stages = sorted({stage for stage in done if not todo or stage < first} | set(range(first, last + 1)))
    if not todo:
        stages = sorted(done)
    words = ["./sec.sh", "--stage", str(todo[0] if todo else first), "--stop_stage", str(last)]
    words += [word for name, value in options.items() for word in (f"--{name}", value)]
    lines = [" ".join(map(shlex.quote, words[at : at + 2])) for at in range(1, len(words), 2)]
    call = " \\\n    ".join([f"exec {words[0]}", *lines, '"$@"'])
    with atomic_write(folder / "run.sh") as stream:
        stream.write(
            f"#!/usr/bin/env bash\n# Fold {number}, written by sec_folds. By hand, with other options behind it:"
            f" ./run.sh --stage 7\nset -euo pipefail\n\n[ ! -x local/fold.sh ] || local/fold.sh\n{call}\n"
        )
    (folder / "run.sh").chmod(0o755)
    with atomic_write(folder / WANTED) as stream:
        stream.write(json.dumps({"made_from": made_from, "stages": stages}) + "\n")
    return not todo


def _stages(path: Path, made_from: str) -> set[int]:
    """The stages that a fold has done from just this."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return set(map(int, record["stages"])) if record["made_from"] == made_from else set()
    except (OSError, ValueError, TypeError, KeyError):
        return set()

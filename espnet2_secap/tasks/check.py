"""What sec.sh checks when it starts: everything that can be known from options and files, all of it listed at once.

Nothing is checked here by a rule of its own where a program or a part has the rule: it is asked, without being run.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from espnet2_secap.data.folds import FOLD_BY, check_number
from espnet2_secap.data.io import read_kaldi, scan_lines
from espnet2_secap.data.labels import in_classes, read_emotion_map
from espnet2_secap.data.perturb import perturbations
from espnet2_secap.data.scp import is_command
from espnet2_secap.data.validate import Leniency, validate_data_dir
from espnet2_secap.errors import SecError, few, shorten
from espnet2_secap.metric.language import language
from espnet2_secap.process import made
from espnet2_secap.tasks.fold_recipe import fold_options
from espnet2_secap.tasks.recipe import NO_BRIDGE, STAGES, Recipe
from espnet2_secap.tasks.training_data import check_categories
from espnet2_secap.text.roles import QUERIES

SET = re.compile(r"\w[\w.+-]*")
CHECKED_BYTES = 8_000_000  # of text files per run: 0.7 s; what is larger is left to stage 2
# option -> least value; all are integers
NUMBERS = {"ngpu": 0, "num_nodes": 1, "train_nproc": 1, "nj": 1, "inference_nj": 1, "train_threads": 1}
NUMBERS |= {"folds": 2, "fold_seed": 0, "fold_jobs": 1}
MAY_BE_EMPTY = ("train_threads", "folds")
LISTED = 20  # problems of one data directory


@dataclass
class Findings:
    """What is wrong, and what is worth knowing, one line each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def of(self, where: str = "") -> Iterator[None]:
        """Keep what the block raises as a problem; the file at the end of `where` is named once."""
        try:
            yield
        except SecError as err:
            file = where.rpartition(", ")[2]
            self.problems.append(f"{where.removesuffix(file) if str(err).startswith(file) else where}{err}")
        except OSError as err:
            self.problems.append(f"{where}{err.filename or ''}: {err.strerror}; check the path")

    def need(self, path: str, stage: int) -> bool:
        """Whether a file is there; which stage makes it if it is not."""
        if os.path.exists(path):
            return True
        again = f"run stage {stage} first (--stage {stage} --stop-stage {stage})"
        self.problems.append(f"{path} is missing: {again}")
        return False


def chosen_stages(recipe: Recipe, found: Findings) -> list[int]:
    """The stages that will run; a problem if these are none.

    All, if --stage or --stop_stage is no stage: so the other options are checked too.
    """
    limits = {}
    for name in ("stage", "stop_stage"):
        value = getattr(recipe, name)
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < 1:
            found.problems.append(
                f"--{name} {value!r}: must be one stage, a number from 1 to 8 (from --stage to --stop_stage are run)"
            )
        else:
            limits[name] = int(value)
    if len(limits) < 2:
        return list(STAGES)
    first, last = limits["stage"], limits["stop_stage"]
    if first > STAGES[-1]:
        found.problems.append(f"--stage {first}: the last stage is 8, so nothing would be run")
    elif first > last:
        found.problems.append(f"--stage {first} --stop_stage {last}: the first is after the last; nothing would be run")
    if last > STAGES[-1]:
        found.notes.append(f"--stop_stage {last}: the last stage is 8")
    asked = [stage for stage in STAGES if first <= stage <= last]
    chosen = [stage for stage in asked if recipe.left_out(stage) is None]
    if asked and not chosen:
        reasons = list(dict.fromkeys(recipe.left_out(stage) for stage in asked))
        found.problems.append(
            f"--stage {first} --stop_stage {last}: nothing would be run, it is left out by {', '.join(reasons)}"
        )
    return chosen


def check_values(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Numbers, choices, names of sets, the language, and folders that can be written."""
    for name, least in NUMBERS.items():
        value = getattr(recipe, name)
        if value or name not in MAY_BE_EMPTY:
            if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least:
                found.problems.append(f"--{name} {value!r}: must be a whole number of {least} or more")
    choices = {
        "fold_by": FOLD_BY,
        "feats_type": ["extracted", "raw"],
        "feats_normalize": ["", "global_mvn", "utterance_mvn"],
    }
    for name, known in choices.items():
        if getattr(recipe, name) not in known:
            expected = " or ".join(filter(None, known))
            found.problems.append(f"--{name} {getattr(recipe, name)}: expected {expected}")
    if recipe.raw and recipe.feats_normalize == "global_mvn":
        found.problems.append(
            "--feats_normalize global_mvn needs stored features: give --feats_type extracted, or --feats_normalize ''"
        )
    _check_sets(recipe, stages, found)
    if recipe.folds:
        with found.of():
            fold_options(recipe)
    if recipe.trained != recipe.train_set:
        with found.of():
            numbers = (recipe.numbers(name) for name in ("speed_perturb", "noise_snr"))
            perturbations(*numbers, recipe.augment.split())
    with found.of():
        chosen = language(recipe.lang)
        uses = (8 in stages and not recipe.words, {1, 6} & set(stages) and not recipe.prompts)
        notes = chosen.notes(words=bool(uses[0]), prompts=bool(uses[1]))
        found.notes += notes if 8 in stages else [note for note in notes if "instructions" in note]
    if {5, 6} & set(stages) and shutil.which(recipe.python) is None:
        found.problems.append(f"--python {recipe.python}: no such program; give that of the environment")
    for name, users in (("dumpdir", {2, 3}), ("expdir", {4, 5, 6, 7, 8})):
        if users & set(stages):
            _check_writable(name, getattr(recipe, name), found)


def _check_sets(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    wrong = [dset for dset in recipe.sets if not SET.fullmatch(dset)]
    if wrong:
        named = ", ".join(f"'{shorten(dset)}'" for dset in wrong)
        found.problems.append(
            f"--train_set, --valid_set, --test_sets: {named}: a name may hold letters, digits and _ . + - only"
        )
    names = [recipe.train_set, recipe.valid_set, *recipe.test_sets.split(), *(name for name, _ in recipe.zero_shot)]
    for name, folder in recipe.zero_shot:
        if names.count(name) > 1:
            found.problems.append(
                f"--zero_shot_sets {folder}: another set is called {name}; give this one another name: OTHER={folder}"
            )
    if recipe.zero_shot and recipe.folds:
        found.problems.append(
            "--zero_shot_sets: are not divided into --folds; leave one of the two out (a model of all training data has"
            " no folds)"
        )
    if not recipe.tests and {7, 8} & set(stages):
        found.problems.append("--test_sets '': names no set, so stages 7 and 8 would do nothing; name one")


def _check_writable(name: str, folder: str, found: Findings) -> None:
    place = Path(folder)
    if not folder:
        found.problems.append(f"--{name} '': names no folder; give one, or leave the option out")
        return
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        found.problems.append(f"--{name} {folder}: cannot be written; choose a folder that can be written")


def data_folder(recipe: Recipe, stages: Sequence[int], dset: str) -> str | None:
    """Where a set's lists are when the run begins; None where stage 1 is still to make them."""
    if 2 in stages and dset in dict(recipe.zero_shot):
        return recipe.data_dir(dset)
    if 1 in stages:
        return None
    return f"data/{dset}" if 2 in stages else f"{recipe.dumpdir}/raw/{dset}"


def check_data(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """The sets that the first of the chosen stages reads: whole, not empty, enough utterances."""
    if 1 in stages:
        if not os.access("local/data.sh", os.X_OK):
            found.problems.append("local/data.sh is missing, or no program: stage 1 runs it (chmod +x local/data.sh)")
    left = CHECKED_BYTES
    for dset in recipe.sets:
        folder = data_folder(recipe, stages, dset)
        if folder is None:
            continue
        if 2 in stages and dset in dict(recipe.zero_shot) and (problem := _zero_shot_problem(folder)):
            found.problems.append(f"--zero_shot_sets {folder}: {problem}")
            continue
        trained = dset in (recipe.train_set, recipe.valid_set)
        used = {2, 3} & set(stages) or (trained and {4, 5, 6} & set(stages)) or (not trained and {7, 8} & set(stages))
        if not used or not found.need(f"{folder}/wav.scp", 1 if 2 in stages else 2):
            continue
        size = sum(file.stat().st_size for file in Path(folder).iterdir() if file.is_file())
        left -= size
        if left < 0:
            found.notes.append(f"{folder}: {size / 1e6:.0f} MB of lists are not checked at the start, but in stage 2")
            continue
        require = ["captions"] if 2 in stages else []
        pipes = recipe.true("allow_pipes") and 2 in stages
        with found.of():
            lenient = Leniency(recipe.missing_text or "empty") if 2 in stages else None
            problems = validate_data_dir(folder, require, pipes, lenient)
            more = f"{folder}: {len(problems) - LISTED} more such lines: utils/validate_data_dir.sh {folder}"
            found.problems += [*problems[:LISTED], *([more] if len(problems) > LISTED else [])]
    if 1 in stages:
        return
    emotion_map(recipe, stages, found)
    if recipe.folds and recipe.folds.isdecimal():
        _check_folds(recipe, stages, found)
    elif 7 in stages and recipe.true("shuffled_audio") and QUERIES in recipe.condition(trained=6 not in stages):
        for dset in recipe.tests:
            folder = Path(data_folder(recipe, stages, dset))
            path = folder / ("segments" if (folder / "segments").is_file() else "wav.scp")
            if path.is_file() and len(scan_lines(path)[0]) == 1:
                found.problems.append(
                    f"{path}: has one utterance, and the sanity row of shuffled audio needs two; give "
                    "--shuffled_audio false, or a larger test set"
                )


def _zero_shot_problem(folder: str) -> str:
    """Why a data directory of another corpus cannot be read from here; "" if nothing is known against it."""
    scp = Path(folder, "wav.scp")
    if not scp.is_file():
        return f"there is no {scp}; make the corpus first (stage 1 of its recipe), or check the path"
    for _, utt_id, value in scan_lines(scp)[0][:1]:
        if not is_command(value) and not os.path.isabs(value) and not os.path.exists(value):
            return (
                f"{scp}: {shorten(utt_id)}: {shorten(value)} is not there as seen from this recipe; its paths must be"
                " absolute"
            )
    return ""


def _check_folds(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Enough recordings, or speakers, for --folds, where they are known yet."""
    speakers: dict[str, str] = {}
    for dset in recipe.sets:
        folder = Path(data_folder(recipe, stages, dset))
        if not (folder / "wav.scp").is_file():
            return
        file = next(folder / name for name in ("utt2spk", "segments", "wav.scp") if (folder / name).is_file())
        speakers |= read_kaldi(file)
    with found.of():
        check_number(int(recipe.folds), recipe.fold_by, speakers)


def emotion_map(recipe: Recipe, stages: Sequence[int], found: Findings) -> dict[str, str]:
    """label -> its other name, which stage 2 gives it."""
    if recipe.emotion_map and 2 in stages:
        with found.of("--emotion_map: "):
            return read_emotion_map(recipe.emotion_map)
    return {}


def check_labels(
    train_file: str,
    valid_file: str,
    renamed: Mapping[str, str],
    found: Findings,
    classes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Emotions of the validation set must be among those of the training set.

    Args:
        renamed: label -> its other name (--emotion_map).
        classes: that name -> its class in training (--emotion_classes).
    """
    if not (os.path.isfile(train_file) and os.path.isfile(valid_file)):
        return
    train, valid = (
        {utt_id: renamed.get(value, value) for _, utt_id, value in scan_lines(path)[0] if value}
        for path in (train_file, valid_file)
    )
    with found.of():
        train, valid = (in_classes(table, classes) for table in (train, valid))
        check_categories(valid_file, valid, set(train.values()))


def check_inputs(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """What earlier stages make, and these do not: it must be there, and made from what is there now."""
    if not stages:
        return
    if recipe.folds:  # each checks what it reads itself
        stages = sorted({min(stage, 4) for stage in stages})
    wanted = _wanted(recipe, stages)
    missing = [not found.need(path, stage) for path, stage in wanted]
    if any(missing):
        return
    for stage in range(2, stages[0]):
        if recipe.left_out(stage) in ("--feats_type raw", "--skip_align true", "--pretrained_model", NO_BRIDGE):
            continue
        for folder, (files, inputs) in recipe.folders(stage).items():
            if all(os.path.exists(path) for path in files) and _is_used(recipe, stages, stage, folder):
                _check_up_to_date(folder, stage, files, inputs, found)


def _wanted(recipe: Recipe, stages: Sequence[int]) -> list[tuple[str, int]]:
    """Files that the chosen stages read and none of them makes, with the stage that does."""
    wanted: dict[str, int] = {}
    both, here = recipe.fed if recipe.folds else (recipe.trained, recipe.valid_set), set(stages)
    maker = 2 if recipe.raw else 3
    feats = {dset: f"{recipe.feats_dir}/{dset}/{recipe.feats_scp}" for dset in recipe.fed}
    if here & {3, 4, 5, 6} and recipe.copies:
        with_copies = recipe.fed if recipe.folds else [recipe.trained]
        wanted |= {f"{recipe.dumpdir}/raw/{dset}/wav.scp": 2 for dset in with_copies}
    if here & {4, 5, 6}:
        wanted |= dict.fromkeys((feats[dset] for dset in both), maker)
    if here & {5, 6}:
        wanted |= dict.fromkeys((f"{recipe.sec_stats_dir}/{dset}/speech_shape" for dset in both), 4)
    starts = recipe.pretrained_model or recipe.left_out(5) != NO_BRIDGE
    if 6 in here and not recipe.true("skip_align") and starts:
        file = recipe.align_file()
        wanted[file if os.path.exists(file) else file.rpartition(":")[0] or file] = 5
    if 7 in here:
        wanted[f"{recipe.sec_exp}/{recipe.inference_model}"] = 6
        wanted |= dict.fromkeys((feats[dset] for dset in recipe.tests), maker)
    if 8 in here:
        wanted |= dict.fromkeys((f"{recipe.decode_dir}/{dset}/captions" for dset in recipe.tests), 7)
        wanted[f"{recipe.dumpdir}/raw/{recipe.train_set}/captions"] = 2
    made_here = here - {5} if recipe.pretrained_model else here
    return [(path, stage) for path, stage in wanted.items() if stage not in made_here]


def _is_used(recipe: Recipe, stages: Sequence[int], stage: int, folder: str) -> bool:
    """Whether a chosen stage reads what an earlier one has made of a set, itself or through another stage."""
    dset, here = folder.rsplit("/", 1)[-1], set(stages)
    if stage in (2, 3):
        trained = dset in (recipe.train_set, recipe.trained, recipe.valid_set) or (recipe.folds and dset in recipe.fed)
        return bool(here & ({3, 4, 5, 6} if trained else {3, 7, 8}))
    return bool(here & {4: {5, 6}, 5: {6}, 6: {7}, 7: {8}}[stage])


def _check_up_to_date(folder: str, stage: int, files: list[str], inputs: list[str], found: Findings) -> None:
    again = f"run stage {stage} again (--stage {stage})"
    changed = made.changed(folder, inputs)
    if changed:
        found.problems.append(
            f"{folder}: stage {stage} did not make it from {few(changed)} as it is now; {again}, or, to go on with it"
            f" as it is, remove {folder}/{made.RECORD}"
        )
    elif changed is None and (later := made.newer(files, inputs)):
        found.notes.append(f"warning: {files[0]} is older than {later[0]}; if that has changed, {again}")
    if made.has_ended(folder) is False:
        found.notes.append(f"warning: {folder}: stage {stage} has begun and not ended; {again}")


Check = Callable[[Recipe, Sequence[int], Findings], None]


def check_recipe(recipe: Recipe, more: Sequence[Check] = ()) -> Findings:
    """All checks.

    Args:
        more: further checks, such as those of the programs' options.
    """
    found = Findings()
    stages = chosen_stages(recipe, found)
    for check in (check_values, check_data, check_inputs, *more):
        try:
            check(recipe, stages, found)
        except Exception as err:  # of a library, or ours: no reason to stop a run that its stages check again
            what = shorten(f"{type(err).__name__}: {err}", 200)
            found.notes.append(f"warning: sec_check: {check.__name__} failed ({what}); the stages check it themselves")
    whole = tuple(f": {problem}" for problem in found.problems)  # what two checks have found is told once
    found.problems = [one for one in dict.fromkeys(found.problems) if not one.endswith(whole)]
    return found

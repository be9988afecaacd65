"""The experiments behind a paper's tables, each a run of run.sh: what is shared, what is done, how long it takes."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from espnet2_secap.data.conf import read_extended
from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError
from espnet2_secap.process import made, stages
from espnet2_secap.process.jobs import fingerprint
from espnet2_secap.tasks.fold_recipe import HOLD_OPTIONS, quoted
from espnet2_secap.tasks.tables import NONE, Step, TableFile

EXP, RECORDS = "exp", "exp/.tables"
TAG = "tables"  # of the decoding
SEEDED = ("align_args", "caption_args", "inference_args")
# Sanity rows and probes are the recipe's own report's business.
ALWAYS = {"shuffled_audio": "false", "nearest_caption": "false", "baselines": "false", "probe": "false"}
MADE = ("data", "dump", "exp", "folds", "pretrained")  # what experiments make is not there before they have run
CONFIGS = {
    5: ["align_config"],
    6: ["caption_config"],
    7: ["inference_config"],
    9: ["samples_config", "pairs_config"],
    11: ["prefer_config"],
}
# Options of a system that another one, which starts from its model, has of its own.
OF_START = (
    "expdir", "lock", "sec_exp", "align_exp", "align_args", "caption_config", "caption_args", "inference_args"
)  # fmt: skip
# Options that run_aligncap.sh has too, and what it calls them.
SAME = ("train_set", "valid_set", "test_sets", "feats_tag", "align_model", "folds", "fold_jobs")
OF_BOTH = {name: name for name in SAME} | {"inference_model": "model"}
DEFAULTS = {
    "align_config": "conf/align.yaml",
    "caption_config": "conf/caption.yaml",
    "inference_config": "conf/decode.yaml",
    "samples_config": "conf/decode_samples.yaml",
    "pairs_config": "conf/pairs.yaml",
    "prefer_config": "conf/prefer.yaml",
}


@dataclass(frozen=True)
class Experiment:
    """A run of run.sh, or of run_aligncap.sh.

    Args:
        name: of its folder in exp/.
        title: for the plan.
        stages: first and last.
        options: of run.sh.
        after: names of the experiments that it reads from, all of them: one in between may be done already.
        alone: name of what only one experiment at a time may use, such as the folder of the folds.
        system, seed: of a system's experiment.
        folds: how many times stages 4 to 8 are run; 1 without folds.
        folder_of_run: the recipe folder that it runs in, as seen from the folder of the tables.
        program: the script of the recipe.
        finds_align: whether an earlier experiment has trained the first stage by then, so that stage 5 takes no time.
    """

    name: str
    title: str
    stages: tuple[int, int]
    options: Mapping[str, str]
    after: tuple[str, ...] = ()
    alone: str = ""
    system: str = ""
    seed: int = 0
    folds: int = 1
    folder_of_run: str = "."
    finds_align: bool = False
    program: str = "./run.sh"

    def command(self) -> list[str]:
        """The command, to be run in the folder of the tables."""
        first, last = self.stages
        before = [] if self.folder_of_run == "." else ["env", "-C", self.folder_of_run]
        words = [*before, self.program, "--stage", str(first), "--stop_stage", str(last)]
        for name, value in self.options.items():
            text = f" {value}" if value.startswith("--") and " " not in value else value
            words += [f"--{name}", text]
        return words

    @property
    def numbers(self) -> list[int]:
        """The stages that it runs."""
        first, last = self.stages
        return list(range(first, last + 1))

    @property
    def folder(self) -> Path:
        """Its folder, as seen from the folder of the tables."""
        return Path(EXP) / self.name


class Plan:
    """All experiments for some tables with some seeds, those that others need first.

    Args:
        file: the systems.
        tables: ids of tables.
        seeds: of training and decoding.
        folds: of the cross-validation; 0: the recipe's own sets.
        options: further options of run.sh, for all.
        jobs: experiments at the same time, each with its share of the cores.
        back: from the folder of the tables to the recipe's.

    Raises:
        SecError: no system of these tables can be run.
    """

    def __init__(
        self,
        file: TableFile,
        tables: Sequence[str],
        seeds: Sequence[int],
        folds: int = 0,
        options: Mapping[str, str] | None = None,
        jobs: int = 1,
        back: str = "..",
    ):
        self.back = back
        self.file, self.folds, self.jobs = file, folds, jobs
        share = max(1, (os.cpu_count() or 1) // jobs)
        # before what the file and the user say, which wins
        self.shared = {"train_threads": str(share), "train_nproc": "1", "inference_nj": "1", "nj": str(share)}
        for given in (file.conf.options, options or {}):
            add_options(self.shared, given)
        rows = [row["system"] for name in tables for row in file.tables[name].rows]
        compared = [one for name in tables for claim in file.claims[name] for one in (claim.better, claim.worse)]
        reference = [file.conf.reference] if file.conf.reference else []
        self.wanted = list(dict.fromkeys([*rows, *reference, *compared]))
        self.left_out = {name: lacks for name in self.wanted if (lacks := self.file.lacks(name))}
        self.systems = [name for name in self.wanted if name not in self.left_out]
        if not self.systems:
            raise SecError(f"{file.path}: none of the systems of these tables can be run with this version")
        self.seeds = list(dict.fromkeys(seeds))
        self.experiments: dict[str, Experiment] = {}
        self._add_data()
        for seed in self.seeds:
            for name in self.systems:
                self._add_system(name, seed)

    @property
    def scores(self) -> str:
        """The folder below which the scores lie."""
        if not self.folds:
            return EXP
        by, seed = self.shared.get("fold_by", "recording"), self.shared.get("fold_seed", "0")
        folder = f"folds/{self.folds}" + ("" if by == "recording" else f"_{by}")
        return folder + ("" if seed == "0" else f"_seed{seed}") + "/exp"

    def score_name(self, system: str, seed: int) -> str:
        """The name of a system's scores in `find_scores(self.scores)`."""
        name = f"{system}_seed{seed}"
        decoded = f"sec_caption_{name}/decode_{TAG}"
        return decoded if self.folds else f"{name}/{decoded}"

    def _add(self, experiment: Experiment) -> str:
        self.experiments.setdefault(experiment.name, experiment)
        return experiment.name

    def _add_data(self) -> None:
        steps = [one for name in self.systems for one in self.file.steps_of(self.file.systems[name])]
        parts = list(dict.fromkeys(part for step in steps for part in step.parts))
        opts = [self.shared.get("local_data_opts", ""), *(self.file.conf.parts[part] for part in parts)]
        options = self._options("data", []) | {"local_data_opts": " ".join(filter(None, opts))}
        title = "corpus and audio" + (f", with {', '.join(parts)}" if parts else "")
        options = {key: value for key, value in options.items() if value}
        where = "."
        if not self.file.conf.own_data:  # with its own exp/ and lock
            where = self.back
            options = {key: value for key, value in options.items() if key not in ("expdir", "lock", "sec_stats_dir")}
        self._add(Experiment("data", title, (1, 2), options, folder_of_run=where))

    def _add_feats(self, name: str) -> str:
        step, last = self.file.feats[name], 3 if self.folds else 4
        options = self._options(f"feats_{name}", [step])
        if self.folds:
            options["folds"] = str(self.folds)
        return self._add(Experiment(f"feats_{name}", step.title or f"features {name}", (3, last), options, ("data",)))

    def _add_align(self, name: str, seed: int) -> str:
        step = self.file.aligns[name]
        own = f"align_{name}_seed{seed}"
        options = self._options(own, [self.file.feats[step.feats], step], seed, step.feats)
        options["align_exp"] = f"{EXP}/{own}/sec_{own}"
        title = f"first stage {step.title or name}, seed {seed}"
        return self._add(Experiment(own, title, (5, 5), options, (self._add_feats(step.feats), "data")))

    def _add_system(self, name: str, seed: int) -> None:
        step = self.file.systems[name]
        if step.start:
            self._add_preferred(name, step, seed)
            return
        own = f"{name}_seed{seed}"
        options = self._options(own, self.file.steps_of(step), seed, step.feats)
        options |= {"sec_exp": f"{EXP}/{own}/sec_caption_{own}", "inference_tag": TAG}
        before, first, home = self._add_feats(step.feats), 6, EXP
        if step.align == NONE:
            options["skip_align"] = "true"
        else:
            align = f"align_{step.align}_seed{seed}"
            if self.folds:  # within each fold's exp/, where the next system finds it
                first, home = 5, f"{EXP}/{own}"
            else:
                before = self._add_align(step.align, seed)
                home = f"{EXP}/{align}"
            options["align_exp"] = f"{home}/sec_{align}"
        if self.folds:
            options |= {"folds": str(self.folds), "fold_jobs": str(self.jobs)}
            first = 4
        there = [one.options.get("align_exp", "").split("/")[-1] for one in self.experiments.values() if one.system]
        finds_align = first < 6 and options.get("align_exp", "").split("/")[-1] in there
        self._add_run(name, seed, (first, 8), options, before, finds_align=finds_align)

    def _add_run(
        self, name: str, seed: int, stages: tuple[int, int], options: Mapping[str, str], before: str, **more: Any
    ) -> None:
        """The experiment of a system. In folds one runs at a time, since all share the folders of the folds."""
        title, alone = f"{self.file.systems[name].title or name}, seed {seed}", self.scores if self.folds else ""
        more |= {"system": name, "seed": seed, "folds": self.folds or 1}
        self._add(Experiment(f"{name}_seed{seed}", title, stages, options, (before, "data"), alone, **more))

    def _add_preferred(self, name: str, step: Step, seed: int) -> None:
        """Stages 9 to 12 of run_aligncap.sh, from another system's model."""
        self._add_system(step.start, seed)
        start, own = self.experiments[f"{step.start}_seed{seed}"], f"{name}_seed{seed}"
        options = {key: value for key, value in start.options.items() if key not in OF_START}

        def place(path: str) -> str:  # within each fold's exp/, where run.sh of a fold has it
            return f"{EXP}/{os.path.basename(path)}" if self.folds and path else path

        options["sec_stats_dir"] = place(options["sec_stats_dir"])
        if not self.folds:
            options["lock"] = f"{EXP}/{own}/.lock"
        mine = {new: options.pop(old) for old, new in OF_BOTH.items() if old in options}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        mine |= {key: text(value) for key, value in step.options.items()}
        mine |= {
            "expdir": f"{EXP}/{own}",
            "distill_exp": place(start.options["sec_exp"]),
            "prefer_exp": place(f"{EXP}/{own}/sec_caption_{own}"),
            "align_exp": place(start.options.get("align_exp", "")),
            "seed": str(seed),
            "controls": "",
            "options": quoted(words),
        }
        self._add_run(name, seed, (9, 12), mine, start.name, program="./run_aligncap.sh")

    def _options(self, name: str, steps: Sequence[Step], seed: int | None = None, feats: str = "") -> dict[str, str]:
        """The options of an experiment; those that hold options are joined in the order of the steps."""
        joined = {key: value for key, value in self.shared.items() if key != "local_data_opts"} | ALWAYS
        for step in steps:
            add_options(joined, step.options)
        if seed is not None:
            for key in SEEDED:
                joined[key] = " ".join(filter(None, [joined.get(key), quoted(["--seed", str(seed)])]))
        joined |= {"expdir": f"{EXP}/{name}", "lock": f"{EXP}/{name}/.lock"}
        stats = feats or name.removeprefix("feats_")
        # folds have their own below their exp/
        joined["sec_stats_dir"] = f"{EXP}/{name if self.folds else f'feats_{stats}'}/sec_stats_{stats}"
        return joined

    @cached_property
    def prints(self) -> dict[str, str]:
        """Experiment -> what it is made from: its options, configurations, and the experiments that it reads from."""
        found: dict[str, str] = {}
        free = {"nj", "inference_nj", "train_threads", "fold_jobs", "python", "lock"}
        for name in self.experiments:
            self._print(name, found, free)
        return found

    def _print(self, name: str, found: dict[str, str], free: set[str]) -> str:
        if name not in found:
            one = self.experiments[name]
            options = {key: value for key, value in one.options.items() if key not in free}
            words = {word.split("=")[-1] for value in options.values() for word in value.split()}
            files = sorted(word for word in words if os.path.isfile(word) and word.split("/")[0] not in MADE)
            configs = [name for stage in one.numbers for name in CONFIGS.get(stage, [])]
            for path in (options.get(name, DEFAULTS[name]) for name in configs):
                if os.path.isfile(path):
                    read_extended(path, found=files)
            before = [self._print(other, found, free) for other in one.after if other != "data"]
            before.append(self.shared.get("local_data_opts", ""))  # parts may be added to the same corpus
            found[name] = fingerprint([options, {path: made.digest(path) for path in files}, before, one.folds])
        return found[name]

    def is_done(self, experiment: Experiment) -> bool:
        """Whether it has been run to its end with these options."""
        path = Path(RECORDS) / f"{experiment.name}.json"
        if not path.is_file():
            return False
        noted = read_json(path, "remove it, and the experiment is run again")
        if not isinstance(noted, dict):
            raise SecError(f"{path}: is not what the plan has written; remove it, and the experiment is run again")
        if noted.get("made_from") != self.prints[experiment.name]:
            return False
        return not experiment.system or bool(self.score_file(experiment))

    def score_file(self, experiment: Experiment) -> Path | None:
        """The score.json of a system's experiment, where it is there."""
        name = self.score_name(experiment.system, experiment.seed)
        path = Path(self.scores) / name / self.file.conf.dset / "score.json"
        return path if path.is_file() else None


class Clock:
    """Seconds that experiments will take: as measured on stages of earlier ones, else as the file of systems says, by
    how fast this machine is.

    Args:
        plan: of the experiments.
        records: further .stages.tsv files of runs of the recipe.
    """

    def __init__(self, plan: Plan, records: Sequence[str | Path] = ()):
        self.plan = plan
        files = [one.folder / ".stages.tsv" for one in plan.experiments.values()]
        self.measured = stage_seconds(files) or stage_seconds(records)
        self.own = {one.name: stage_seconds([one.folder / ".stages.tsv"]) for one in plan.experiments.values()}
        self._guess = plan.file.conf.seconds

    @cached_property
    def factor(self) -> float:
        """How much longer than on the machine of the file: a short timing."""
        return self.plan.file.conf.speed / gigaflops()

    def seconds(self, experiment: Experiment) -> float | None:
        """Of one experiment; None where a stage is neither measured nor in the file."""
        total = 0.0
        for stage in experiment.numbers:
            if stage == 5 and (experiment.options.get("skip_align") == "true" or experiment.finds_align):
                continue
            if (took := self.measured.get(stage)) is None:
                if stage not in self._guess:
                    return None
                took = self._guess[stage] * self.factor * (experiment.folds if stage >= 4 else 1)
            total += took
        return total


def stage_seconds(files: Sequence[str | Path]) -> dict[int, float]:
    """Stage -> median of the seconds that it took in the runs that have ended well."""
    found: dict[int, list[float]] = {}
    for path in files:
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for run in dict.fromkeys(line.split("\t")[0] for line in lines):
            for stage in stages.read_stages(path, run):
                if not stage.status and stage.number.isdigit() and stage.end > stage.start:
                    found.setdefault(int(stage.number), []).append(stage.end - stage.start)
    return {stage: float(np.median(took)) for stage, took in found.items()}


def gigaflops(seconds: float = 0.2) -> float:
    """How fast one core multiplies two matrices of 512 x 512, in GFLOP/s, from a timing this long."""
    one = np.ones((512, 512), dtype=np.float32)
    one @ one
    begin, count = time.process_time(), 0
    while (took := time.process_time() - begin) < seconds:
        one @ one
        count += 1
    return 2 * 512**3 * count / took / 1e9


def add_options(joined: dict[str, str], more: Mapping[str, object]) -> None:
    """Add options; the value of one that holds options stands behind what is there."""
    for key, value in more.items():
        both = key.endswith(HOLD_OPTIONS) and joined.get(key)
        joined[key] = f"{joined[key]} {text(value)}" if both else text(value)


def text(value: object) -> str:
    """A value of YAML as an option of a shell script."""
    return str(value).lower() if isinstance(value, bool) else str(value)

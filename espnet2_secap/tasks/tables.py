"""The file of systems (conf/tables.yaml): what makes each system of a paper's tables, the tables and the claims."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet2_secap.data.conf import read_extended
from espnet2_secap.errors import SecError, listed, shorten
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.report.paper_tables import Claim, Row
from espnet2_secap.report.quoted import quotable, read_quoted
from espnet2_secap.tasks.parts import PARTS
from espnet2_secap.values import Amount, Positive, check_conf, check_keys

# Options of sec.sh that the plan itself gives to each experiment.
OWN = (
    "stage stop_stage expdir dumpdir lock align_exp sec_exp sec_stats_dir sec_tag folds skip_align skip_score"
    " inference_tag pretrained_model skip_train skip_eval skip_data_prep"
).split()
NONE = "none"  # align: no first stage


@dataclass(frozen=True)
class Step:
    """Features, a first stage, or a system: options of sec.sh that make it, and what it needs.

    Args:
        title: for the plan.
        options: of sec.sh. Those that end in _args are joined with those of other steps.
        needs: parts of the registry, "decoder:seq2seq".
        parts: names in `parts` of the file: what stage 1 must also make.
        feats: of a system or a first stage: name in `feats`.
        align: of a system: name in `aligns`, or none.
        start: of a system: the one that preference optimisation starts from, by run_aligncap.sh; features and first
            stage are that one's.
    """

    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: Sequence[str] = ()
    parts: Sequence[str] = ()
    feats: str = ""
    align: str = NONE
    start: str = ""

    def missing(self) -> list[str]:
        """Those of `needs` that this version does not have."""
        known = {f"{kind}:{name}" for kind, name, _ in PARTS}
        return [name for name in self.needs if name not in known]


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Args:
        title: what it compares.
        columns: heads of its rows' first cells.
        metrics: its columns, and ours.
        rows: {system, cells, quoted}: quoted are values by metric, or the name of a row of `quote`.
    """

    title: str
    columns: Sequence[str]
    metrics: Sequence[str]
    rows: Sequence


@dataclass(frozen=True)
class Tables:
    """The content of the file, see docs/tables.md.

    Args:
        paper: what the tables are of, for their heading.
        quote: paper of report/quoted_<name>.json whose rows `quoted` names.
        metric: by which claims and differences are decided.
        reference: the system that all are compared with.
        dset: test set that is reported.
        options: of run.sh, for all experiments.
        own_data: whether the tables have a corpus and features of their own; else they are the recipe's.
        parts: name -> further words of --local_data_opts, for the experiments that need the part.
        subsets: value -> file of data/<set>: its utterances are also reported apart.
        feats, aligns, systems: name -> Step.
        tables: id -> PaperTable.
        claims: {claim, table, better, worse}.
        seconds: stage -> seconds on one core, before any has been measured here.
        speed: of that core: GFLOP/s of a product of two matrices of 512 x 512.
    """

    systems: Mapping[str, Mapping]
    tables: Mapping[str, Mapping]
    feats: Mapping[str, Mapping | None]
    paper: str = ""
    quote: str = ""
    metric: str = "cider"
    reference: str = ""
    dset: str = "test"
    own_data: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    subsets: Mapping[str, str] = field(default_factory=dict)
    aligns: Mapping[str, Mapping | None] = field(default_factory=dict)
    claims: Sequence = ()
    seconds: Mapping[int, Amount] = field(default_factory=dict)
    speed: Positive = 50.0


@dataclass(frozen=True)
class RowConf:
    """A row as the file has it."""

    system: str
    cells: Sequence[str]
    quoted: str | Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimConf:
    """A claim as the file has it."""

    claim: str
    table: str
    better: str
    worse: str


class TableFile:
    """A checked file of systems.

    Args:
        path: YAML; `extends: FILE`, relative to it, names one whose entries it adds to or overrides.
        sec_sh: the script whose options the steps may set.

    Raises:
        SecError: the file, the key, what is wrong with it.
    """

    def __init__(self, path: str | Path, sec_sh: str | Path = "sec.sh"):
        self.path = str(path)
        files: list[str] = []
        conf = read_extended(path, depth=2, join_lists=True, found=files)
        if len(files) > 1:
            self.path += f" (extends {', '.join(files[1:])})"
        self.conf = Tables(**check_conf(self.path, Tables, conf))
        self.known = known = sec_options(sec_sh)
        self.aligncap_sh = Path(sec_sh).resolve().with_name("aligncap.sh")  # a recipe may have no link to it
        self.feats = {name: self._step("feats", name, conf, known) for name, conf in self.conf.feats.items()}
        self.aligns = {name: self._step("aligns", name, conf, known) for name, conf in self.conf.aligns.items()}
        self.systems = {name: self._step("systems", name, conf, known) for name, conf in self.conf.systems.items()}
        self._options("options", self.conf.options, known)
        self.quoted = self._quoted()
        self.tables = {name: self._table(name, conf) for name, conf in self.conf.tables.items()}
        self.claims: dict[str, list[Claim]] = {name: [] for name in self.tables}
        for at, conf in enumerate(self.conf.claims, 1):
            self._claim(f"{self.path}: claims: number {at}", conf)
        self._metric("metric", self.conf.metric)
        if self.conf.reference:
            self._known(f"{self.path}: reference", self.conf.reference, self.systems, "systems")

    def rows(self, table: str) -> list[Row]:
        """The rows of a table."""
        found = []
        for conf in self.tables[table].rows:
            row = RowConf(**conf)
            quoted = self.quoted[row.quoted] if isinstance(row.quoted, str) else row.quoted
            lacks = self.lacks(row.system)
            why = f"this version has no {listed(lacks)}" if lacks else ""
            found.append(Row(row.system, row.cells, {key: str(value) for key, value in quoted.items()}, why))
        return found

    def lacks(self, system: str) -> list[str]:
        """Parts that a system needs and this version does not have."""
        step = self.systems[system]
        return [name for one in self.steps_of(step) for name in one.missing()]

    def steps_of(self, step: Step) -> list[Step]:
        """A system with its features and first stage, in the order in which their options are joined."""
        if step.start:
            return [*self.steps_of(self.systems[step.start]), step]
        before = [self.feats[step.feats]] if step.feats else []
        if step.align != NONE:
            before.append(self.aligns[step.align])
        return [*before, step]

    def choose(self, names: Sequence[str]) -> list[str]:
        """The tables of these names.

        Raises:
            SecError: there is no such table.
        """
        for name in names:
            self._known("--tables", name, self.tables, f"tables of {self.path}")
        return list(dict.fromkeys(names))

    def _step(self, section: str, name: str, conf: Mapping | None, known: set[str]) -> Step:
        where = f"{self.path}: {section}: {name}"
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(name)) or "_seed" in str(name):
            raise SecError(f"{where}: a name has letters, digits, _ . - only, and no _seed; rename it")
        step = Step(**check_conf(where, Step, conf or {}))
        self._options(where, step.options, sec_options(self.aligncap_sh) if step.start else known)
        for part in step.needs:
            if ":" not in str(part):
                raise SecError(f"{where}: needs: {shorten(str(part))!r}: must be KIND:NAME, such as decoder:seq2seq")
        for part in step.parts:
            self._known(f"{where}: parts", part, self.conf.parts, "parts")
        if step.start:
            if section != "systems" or step.feats or step.align != NONE:
                raise SecError(f"{where}: start: is of a system that has no feats and align of its own; leave them out")
            others = [other for other in self.conf.systems if not (self.conf.systems[other] or {}).get("start")]
            self._known(f"{where}: start", step.start, others, "systems without start")
        elif section != "feats":
            self._known(f"{where}: feats", step.feats, self.conf.feats, "feats")
        if section == "systems" and step.align != NONE:
            self._known(f"{where}: align", step.align, self.conf.aligns, "aligns")
            other = self.aligns[step.align].feats
            if other != step.feats:
                raise SecError(
                    f"{where}: align: {step.align} has the features {other}, not {step.feats}; choose another"
                )
        return step

    def _options(self, where: str, options: Mapping, known: set[str]) -> None:
        where = where if where.startswith(self.path) else f"{self.path}: {where}"
        check_keys(f"{where}: options" if not where.endswith("options") else where, options, known - set(OWN))
        for name, value in options.items():
            if not isinstance(value, str | int | float | bool):
                raise SecError(f"{where}: options: {name}: must be text or a number")

    def _table(self, name: str, conf: Mapping) -> PaperTable:
        where = f"{self.path}: tables: {name}"
        table = PaperTable(**check_conf(where, PaperTable, conf))
        for metric in table.metrics:
            self._metric(f"tables: {name}: metrics", metric)
        for at, line in enumerate(table.rows, 1):
            here = f"{where}: row {at}"
            row = RowConf(**check_conf(here, RowConf, line))
            self._known(f"{here}: system", row.system, self.systems, "systems")
            if len(row.cells) != len(table.columns):
                raise SecError(f"{here}: cells: has {len(row.cells)}, but the table {len(table.columns)} columns")
            if isinstance(row.quoted, str):
                self._known(f"{here}: quoted", row.quoted, self.quoted, f"rows of quote: {self.conf.quote or 'none'}")
        return table

    def _claim(self, where: str, conf: Mapping) -> None:
        claim = ClaimConf(**check_conf(where, ClaimConf, conf))
        self._known(f"{where}: table", claim.table, self.tables, "tables")
        for name in ("better", "worse"):
            self._known(f"{where}: {name}", getattr(claim, name), self.systems, "systems")
        self.claims[claim.table].append(Claim(claim.claim, claim.better, claim.worse))

    def _quoted(self) -> Mapping[str, Mapping[str, str]]:
        if not self.conf.quote:
            return {}
        self._known(f"{self.path}: quote", self.conf.quote, quotable(), "papers")
        return read_quoted(self.conf.quote).rows

    def _metric(self, where: str, name: str) -> None:
        try:
            find_metric(name)
        except SecError as err:
            raise SecError(f"{self.path}: {where}: {err}") from None

    @staticmethod
    def _known(where: str, name: str, known, what: str) -> None:
        if name not in known:
            raise SecError(
                f"{where} {shorten(repr(name))}: there is no such name; {what}: {', '.join(known) or 'none'}"
            )


def sec_options(path: str | Path) -> set[str]:
    """The names of the options of sec.sh."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as err:
        raise SecError(f"{path}: cannot be read ({err.strerror}); run it in a recipe's folder") from None
    return set(re.findall(r"^([a-z_]+)=", text.split("help_message=", 1)[0], re.MULTILINE))

"""Finds scores, probes and captions below exp/."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.process.jobs import file_digest
from espnet2_secap.report.table import Cell, Table

BASELINES = ("random_caption", "frequent_caption")
SHUFFLED = "_shuffled_audio"
NEAREST = "_nearest_caption"
ORACLE, ORACLE_MARK = "oracle", "(oracle clues)"
MADE_FROM = ("ref", "hyp", "train_captions")  # files in score_meta.json whose digests are compared
# Types in score_meta.json
META = {
    "command": str,
    "segment": str,
    "normalize": str,
    "note": str,
    "clues": str,
    "ref": str,
    "hyp": str,
    "words": str,
    "truth_dir": str,
    "train_captions": str,
    "hallucination_attributes": list,
    "zero_shot": str,
    "models": dict,
    "made_from": dict,
}


@dataclass(frozen=True)
class Score:
    """One system on one set.

    Args:
        system: the path below exp/ without the set.
        dset: the set, the last folder.
        metrics: score.json.
        meta: score_meta.json, or {} without that file.
        folder: the folder of these files.
    """

    system: str
    dset: str
    metrics: dict[str, dict]
    meta: dict = field(default_factory=dict)
    folder: Path = Path()

    @property
    def oracle(self) -> bool:
        """Whether its captions were made with clues of the references: an upper bound, no result."""
        return self.meta.get("clues") == ORACLE

    @property
    def shown(self) -> str:
        """The system's name, with a remark on such clues."""
        return f"{self.system} {ORACLE_MARK}" if self.oracle else self.system


def marked(table: Table, scores: Iterable[Score]) -> Table:
    """A table with the remark beside each system whose clues come from the references."""
    names = {score.system for score in scores if score.oracle}
    if not names:
        return table

    def noted(cell: Cell) -> Cell:
        return replace(cell, note=f"{cell.note} {ORACLE_MARK}".strip()) if cell.text in names else cell

    header = [f"{name} {ORACLE_MARK}" if name in names else name for name in table.header]
    return replace(table, header=header, rows=[[noted(cell) for cell in row] for row in table.rows])


def is_sanity(system: str) -> bool:
    """Whether the system is a baseline: without the utterance's audio, or without training (nearest_caption)."""
    return _name(system) in BASELINES or system.endswith((SHUFFLED, NEAREST))


def find_scores(expdir: str | Path) -> list[Score]:
    """All score.json below `expdir`: systems by name, then the baselines without audio.

    Raises:
        SecError: no such folder, no score.json in it, or a file that sec_score did not write.
    """
    if not Path(expdir).is_dir():
        raise SecError(
            f"{expdir}: no such folder; give the folder with the results of training and scoring as --expdir"
        )
    scores = []
    for path in Path(expdir).rglob("score.json"):
        *system, dset = path.parent.relative_to(expdir).parts or ("",)
        if not system:
            raise SecError(f"{path}: expected {expdir}/<system>/<set>/score.json; move it there, or remove it")
        scores.append(Score("/".join(system), dset, _read_metrics(path), _read_meta(path), path.parent))
    if not scores:
        raise SecError(f"{expdir}: contains no <system>/<set>/score.json; run sec_score (stage 8) first")
    return sorted(scores, key=lambda score: (_rank(score.system), score.system, score.dset))


def without_stale(scores: list[Score]) -> tuple[list[Score], list[str]]:
    """The scores of the captions that are there now, and a message for each that was made from others.

    Files that no longer exist are not compared, nor scores of a version that did not record what they are made from.

    Raises:
        SecError: none is left.
    """
    kept, left_out = [], []
    for score in scores:
        recorded = score.meta.get("made_from", {})
        files = {name: Path(score.meta[name]) for name in MADE_FROM if name in recorded and name in score.meta}
        if "hyp" in files:
            beside = score.folder / files["hyp"].name
            files["hyp"] = beside if beside.is_file() else files["hyp"]
        other = [str(path) for name, path in files.items() if path.is_file() and file_digest(path) != recorded[name]]
        if other:
            left_out.append(
                f"{score.folder / 'score.json'}: is left out, since {', '.join(other)} has changed since it was made;"
                " score again (stage 8)"
            )
        else:
            kept.append(score)
    if not kept:
        raise SecError(f"{left_out[0]}; no other score is left")
    return kept, left_out


def results(scores: list[Score]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """The content of results.json: system -> set -> metric -> mean and std, null if the metric did not run."""
    table: dict[str, dict] = {}
    for score in scores:
        table.setdefault(score.system, {})[score.dset] = {
            name: {"mean": value["mean"], "std": value.get("std")} for name, value in score.metrics.items()
        }
    return table


def find_probes(expdir: str | Path, left_out: list[str] | None = None) -> list[dict]:
    """All probe.json below `expdir`, sorted by path, but for those whose model has changed since they were made.

    Args:
        left_out: a message for each of those is added.
    """
    probes = []
    for path in sorted(Path(expdir).rglob("probe.json")):
        probe = _read_object(path)
        model, recorded = path.parent / str(probe.get("model", "")), probe.get("made_from")
        if isinstance(recorded, dict) and model.is_file() and file_digest(model) != recorded.get("model"):
            if left_out is not None:
                what = f"{model} has changed since it was made"
                left_out.append(f"{path}: is left out, since {what}; probe it again (stage 8)")
            continue
        probes.append({"system": path.parent.relative_to(expdir).as_posix(), "set": ""} | probe)
    return probes


def read_examples(score: Score) -> tuple[dict[str, list[str]], dict[str, list[str]]] | None:
    """References and candidates of the scored utterances, or None if the files no longer exist."""
    if not {"ref", "hyp"} <= score.meta.keys():
        return None
    beside = score.folder / Path(score.meta["hyp"]).name
    hyp = beside if beside.is_file() else score.meta["hyp"]
    try:
        return read_caption_file(score.meta["ref"], system=False), read_caption_file(hyp, system=True)
    except SecError:
        return None


def differing_references(scores: list[Score]) -> list[Score]:
    """The scores whose references are others than those of the first score: sets of one name that are not the same.

    References that no longer exist are not compared, nor read where all scores name the same file.
    """
    files = {score.meta["ref"]: None for score in scores if "ref" in score.meta}
    if len({Path(file).resolve() for file in files}) < 2:
        return []
    for file in files:
        try:
            files[file] = read_caption_file(file, system=False)
        except SecError:
            continue
    read = [score for score in scores if files.get(score.meta.get("ref"))]
    return [score for score in read if files[score.meta["ref"]] != files[read[0].meta["ref"]]]


def _rank(system: str) -> int:
    if not is_sanity(system):
        return 0
    return 2 + BASELINES.index(_name(system)) if _name(system) in BASELINES else 1


def _name(system: str) -> str:
    """The last part: baselines may lie in a folder of their own, such as that of a cross-validation."""
    return system.rpartition("/")[2]


def _read_metrics(path: Path) -> dict[str, dict]:
    """score.json: metric -> {"mean", "std", "n", "values"} or {"mean": None, "reason"}."""
    metrics = _read_object(path)
    for name, value in metrics.items():
        if not isinstance(value, dict) or "mean" not in value:
            raise SecError(f"{path}: {name}: has no mean; make the file again with sec_score")
        numbers = [value["mean"], value.get("std"), value.get("n")]
        if any(isinstance(one, bool) or not isinstance(one, int | float | None) for one in numbers):
            raise SecError(f"{path}: {name}: mean, std and n must be numbers; make the file again with sec_score")
        if any(isinstance(one, float) and not math.isfinite(one) for one in numbers):
            raise SecError(f"{path}: {name}: holds NaN or infinity; make the file again with sec_score")
    return metrics


def _read_meta(path: Path) -> dict:
    """score_meta.json beside a score.json, or nothing if it does not exist."""
    path = path.with_name("score_meta.json")
    if not path.is_file():
        return {}
    meta = _read_object(path)
    for key, kind in META.items():
        if not isinstance(meta.get(key, kind()), kind):
            raise SecError(f"{path}: {key}: must be of type {kind.__name__}; make the file again with sec_score")
    return meta


def _read_object(path: Path) -> dict:
    content = read_json(path, "make it again, or remove it")
    if not isinstance(content, dict):
        raise SecError(f"{path}: is not a JSON object; write it again or remove it")
    return content

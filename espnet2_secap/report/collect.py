"""Finds scores, probes and captions below exp/."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_secap.errors import SecError
from espnet2_secap.metric.caption_file import read_caption_file

BASELINES = ("random_caption", "frequent_caption")
SHUFFLED = "_shuffled_audio"


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


def is_sanity(system: str) -> bool:
    """Whether the system is a baseline without access to the utterance's audio."""
    return system in BASELINES or system.endswith(SHUFFLED)


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
            raise SecError(f"{path}: expected {expdir}/<system>/<set>/score.json; move it there or remove it")
        metrics = _read_object(path)
        for name, value in metrics.items():
            if not isinstance(value, dict) or "mean" not in value:
                raise SecError(f"{path}: {name}: has no mean; write the file again with sec_score")
        meta = path.with_name("score_meta.json")
        scores.append(Score("/".join(system), dset, metrics, _read_object(meta) if meta.is_file() else {}, path.parent))
    if not scores:
        raise SecError(f"{expdir}: contains no <system>/<set>/score.json; run sec_score (stage 8) first")
    return sorted(scores, key=lambda score: (_rank(score.system), score.system, score.dset))


def results(scores: list[Score]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """The content of results.json: system -> set -> metric -> mean and std, null if the metric did not run."""
    table: dict[str, dict] = {}
    for score in scores:
        table.setdefault(score.system, {})[score.dset] = {
            name: {"mean": value["mean"], "std": value.get("std")} for name, value in score.metrics.items()
        }
    return table


def find_probes(expdir: str | Path) -> list[dict]:
    """All probe.json below `expdir`, sorted by path."""
    probes = []
    for path in sorted(Path(expdir).rglob("probe.json")):
        probe = _read_object(path)
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


def _rank(system: str) -> int:
    if not is_sanity(system):
        return 0
    return 2 + BASELINES.index(system) if system in BASELINES else 1


def _read_object(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SecError(f"{path}: is not JSON ({err}); write it again or remove it") from None
    if not isinstance(content, dict):
        raise SecError(f"{path}: is not a JSON object; write it again or remove it")
    return content

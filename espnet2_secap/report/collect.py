"""Finding what the programs left below exp/: scores, probes, captions."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_secap.errors import SecError
from espnet2_secap.metric.forms import read_texts

BASELINES = ("random_caption", "frequent_caption")
SHUFFLED = "_shuffled_audio"
# Types in score_meta.json
META = {"command": str, "segment": str, "note": str, "ref": str, "hyp": str, "models": dict}


@dataclass(frozen=True)
class Score:
    """One system on one set.

    Args:
        system: the path below exp/ without the set.
        dset: the set, the last folder.
        metrics: score.json.
        meta: score_meta.json, or nothing where that is not there.
        folder: where they are.
    """

    system: str
    dset: str
    metrics: dict[str, dict]
    meta: dict = field(default_factory=dict)
    folder: Path = Path()


def is_sanity(system: str) -> bool:
    """Whether the system is one that knows nothing of the utterance's audio."""
    return system in BASELINES or system.endswith(SHUFFLED)


def find_scores(expdir: str | Path) -> list[Score]:
    """All score.json below `expdir`: the systems by name, then those that do not listen.

    Raises:
        SecError: no such folder, nothing in it, or a file that is not as sec_score writes it.
    """
    if not Path(expdir).is_dir():
        raise SecError(f"{expdir}: no such folder; give --expdir the folder in which training and scoring wrote")
    scores = []
    for path in Path(expdir).rglob("score.json"):
        *system, dset = path.parent.relative_to(expdir).parts or ("",)
        if not system:
            raise SecError(f"{path}: expected {expdir}/<system>/<set>/score.json; move it there, or remove it")
        scores.append(Score("/".join(system), dset, _read_metrics(path), _read_meta(path), path.parent))
    if not scores:
        raise SecError(f"{expdir}: no <system>/<set>/score.json below it; run sec_score (stage 8) first")
    return sorted(scores, key=lambda score: (_rank(score.system), score.system, score.dset))


def results(scores: list[Score]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """What goes into results.json: system -> set -> metric -> mean and std, null where the metric did not run."""
    table: dict[str, dict] = {}
    for score in scores:
        table.setdefault(score.system, {})[score.dset] = {
            name: {"mean": value["mean"], "std": value.get("std")} for name, value in score.metrics.items()
        }
    return table


def find_probes(expdir: str | Path) -> list[dict]:
    """All probe.json below `expdir`, by their path."""
    probes = []
    for path in sorted(Path(expdir).rglob("probe.json")):
        probe = _read_object(path)
        probes.append({"system": path.parent.relative_to(expdir).as_posix(), "set": ""} | probe)
    return probes


def read_examples(score: Score) -> tuple[dict[str, list[str]], dict[str, list[str]]] | None:
    """References and candidates of the scored utterances, or None where the files are no longer there."""
    if not {"ref", "hyp"} <= score.meta.keys():
        return None
    beside = score.folder / Path(score.meta["hyp"]).name
    hyp = beside if beside.is_file() else score.meta["hyp"]
    try:
        return read_texts(score.meta["ref"], system=False), read_texts(hyp, system=True)
    except SecError:
        return None


def _rank(system: str) -> int:
    if not is_sanity(system):
        return 0
    return 2 + BASELINES.index(system) if system in BASELINES else 1


def _read_metrics(path: Path) -> dict[str, dict]:
    """score.json: metric -> {"mean", "std", "n", "values"} or {"mean": None, "reason"}."""
    metrics = _read_object(path)
    for name, value in metrics.items():
        if not isinstance(value, dict) or "mean" not in value:
            raise SecError(f"{path}: {name}: has no mean; make the file again with sec_score")
        numbers = [value["mean"], value.get("std"), value.get("n")]
        if any(isinstance(one, bool) or not isinstance(one, int | float | None) for one in numbers):
            raise SecError(f"{path}: {name}: mean, std and n must be numbers; make the file again with sec_score")
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise SecError(f"{path}: not JSON ({err}); make it again, or remove it") from None
    if not isinstance(content, dict):
        raise SecError(f"{path}: not a JSON object; make it again, or remove it")
    return content

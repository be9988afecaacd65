"""Scoring of a system's captions of one set: read and check, compute metrics per candidate, write the files."""

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from espnet2_secap.data.io import atomic_write, make_dir, read_kaldi, same_but_for_form, write_json
from espnet2_secap.errors import SecError, few
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable, Scores
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.normalize import SHARE, compared, mixed_forms, normalizer, says_something, spoken
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.words import Categories
from espnet2_secap.progress import progress

HALLUCINATIONS = "hallucinations.jsonl"
TRUTH_FILES = {"emotion": "utt2emo"}  # the other attributes: utt2<attribute>


@dataclass(frozen=True)
class Pairs:
    """What is scored: references and candidates of the same ids.

    Args:
        references: id -> human captions.
        candidates: one dict id -> caption for each candidate, best first; each holds all ids.
        note: a remark for the reader of the scores, or "".
    """

    references: dict[str, list[str]]
    candidates: list[dict[str, str]]
    note: str = ""

    def texts(self) -> Iterator[str]:
        """All captions, references and candidates."""
        yield from (text for captions in self.references.values() for text in captions)
        yield from (text for captions in self.candidates for text in captions.values())


def read_pairs(reference_file: str | Path, hypothesis_file: str | Path, form: str = "nfc") -> Pairs:
    """Read both files, in any format of metric/caption_file.py, and check that they have the same utterances.

    If utterances differ in their number of candidates, the smallest number is scored for all, and the note says so.
    A system is never scored on fewer utterances than the references have. A candidate of blanks and punctuation alone
    counts as empty.

    Args:
        form: the Unicode form in which both are scored (normalize.FORMS).

    Raises:
        SecError: a bad line, or ids that are in one of the files only.
    """
    references, candidates = (
        read_caption_file(reference_file, system=False),
        read_caption_file(hypothesis_file, system=True),
    )
    problems = []
    if missing := references.keys() - candidates:
        of_all = f"{len(missing)} of the {len(references)} utterances"
        problems.append(f"{of_all} in {reference_file} have no candidate ({few(sorted(missing))})")
    if unknown := candidates.keys() - references:
        problems.append(f"{len(unknown)} of its ids are not in {reference_file} ({few(sorted(unknown))})")
    if alike := same_but_for_form(missing, unknown):
        problems.append(f"{len(alike)} are the same but for their Unicode form (NFC, NFD): write all ids in one")
    if problems:
        raise SecError(
            f"{hypothesis_file}: {'; '.join(problems)}; decode the whole set, or score against its own captions"
        )
    counts = [len(captions) for captions in candidates.values()]
    n = min(counts)
    notes = []
    if n < max(counts):
        more = [utt for utt, captions in candidates.items() if len(captions) > n]
        which = f"{len(more)} of {len(counts)} utterances have more than {n} candidates ({few(sorted(more))})"
        notes.append(f"{which}: the first {n} of each utterance are scored")
    normalize = normalizer(form)
    pairs = Pairs(
        references={utt: compared(texts, normalize) for utt, texts in sorted(references.items())},
        candidates=[{utt: spoken(candidates[utt][at], normalize) for utt in sorted(references)} for at in range(n)],
    )
    if mute := [utt for utt, texts in pairs.references.items() if not says_something(texts[0])]:
        what = f"{len(mute)} of {len(references)} utterances have references without any word ({few(sorted(mute))})"
        notes.append(f"{what}: no caption can match them")
    differ, captions = mixed_forms(pairs.texts())
    if differ > SHARE * captions:
        what = f"{differ} of {captions} captions differ under NFKC: they write characters in another width or form"
        notes.append(f"{what} than the others; --score_args '--normalize nfkc' counts both as the same")
    return replace(pairs, note="; ".join(notes))


def read_train(path: str | Path, form: str = "nfc") -> list[str] | dict[str, list[str]]:
    """All training captions of a file, in the form in which captions are scored.

    Args:
        path: a file; or the folder of the folds (folds/10) of a cross-validation: then id -> the training captions of
            the fold that tests it.

    Raises:
        SecError: a bad line; a folder without folds.
    """
    normalize = normalizer(form)

    def read(file: str | Path) -> list[str]:
        return [normalize(text) for texts in read_caption_file(file, system=False).values() for text in texts]

    if not Path(path).is_dir():
        return read(path)
    from espnet2_secap.data.folds import fold_files, tested  # needs NumPy, which other calls of sec_score do not

    pairs = zip(tested(path), map(read, fold_files(path, "train")), strict=True)
    return {utt: texts for ids, texts in pairs for utt in ids}


def read_truth(
    folder: str | Path, words: dict[str, Categories], ids: dict[str, object]
) -> tuple[dict[str, dict[str, list[str]]], dict[str, str]]:
    """Read the true categories of each attribute for which `folder` has a file (utt2emo, utt2rate, ...).

    A label is a category of the words file or a word that names one. The truth of an utterance with any other label
    (such as "other") is not known. An attribute that joins categories of another one (emotion_quadrant) has the other's
    label, if it has no file of its own.

    Returns:
        attribute -> id -> categories; attribute -> a note, if there are such other labels.

    Raises:
        SecError: no such folder, or an id of `ids` without a label.
    """
    if not Path(folder).is_dir():
        raise SecError(
            f"{folder}: no such folder; give the data directory of the set as --truth_dir, or omit --truth_dir"
        )
    truth, notes = {}, {}
    for attribute, categories in words.items():
        path = Path(folder) / truth_file(attribute)
        joins = not path.is_file() and bool(categories.parent)
        path = Path(folder) / truth_file(categories.parent) if joins else path
        if not path.is_file():
            continue
        labels = read_kaldi(path)
        missing = [utt for utt in ids if utt not in labels]
        if missing:
            of_all = f"{len(missing)} of {len(ids)} utterances"
            raise SecError(f"{path}: no label for {of_all} ({few(sorted(missing))}); add them or remove the file")
        meaning = {label: categories.of_label(label) for label in set(labels.values())}
        truth[attribute] = {utt: meaning[labels[utt]] for utt in ids}
        unknown = [utt for utt in ids if not truth[attribute][utt]]
        if unknown and not joins:  # of the joined ones the parent's note says it, and a category may be in no group
            which = ", ".join(sorted({labels[utt] for utt in unknown}))
            of_all = f"{len(unknown)} of {len(ids)} labels name no category of the words file ({which})"
            notes[attribute] = f"{path.name}: {of_all}; excluded from the metrics of {attribute}"
    return truth, notes


def truth_file(attribute: str) -> str:
    """The file of a data directory that has the labels of an attribute."""
    return TRUTH_FILES.get(attribute, f"utt2{attribute}")


def read_transcripts(file: str | Path | None, truth_dir: str | Path | None) -> dict[str, str]:
    """The spoken words by id, in Kaldi's form: of a file, else of `text` of a data directory, else none.

    Raises:
        SecError: a bad line, or no such file.
    """
    if not file and truth_dir and (Path(truth_dir) / "text").is_file():
        file = Path(truth_dir) / "text"
    return read_kaldi(file, may_be_empty=True) if file else {}


def score_metrics(pairs: Pairs, names: list[str], context: Context) -> tuple[dict, dict]:
    """Score each candidate separately with every metric.

    Args:
        names: metrics (registry.find_metric).

    Returns:
        metric -> {"mean", "std", "n", "values"} in per cent over the candidates (std of the population, n of them),
        or {"mean": None, "reason"} if the metric cannot run or gives NaN; metric -> for each candidate, id -> value or
        None.
    """
    metrics = [find_metric(name) for name in names]
    results, tables = {}, {}
    for metric in progress(metrics, desc="scoring, metrics"):
        try:
            function = metric.make(context)
            scored = [function(pairs.references, candidate) for candidate in pairs.candidates]
        except MetricUnavailable as err:
            results[metric.name] = {"mean": None, "reason": str(err)}
            continue
        values = [corpus for corpus, _ in scored]
        if reason := _not_finite(scored):
            results[metric.name] = {"mean": None, "reason": reason}
            continue
        results[metric.name] = {
            "mean": statistics.fmean(values),
            "std": statistics.pstdev(values),
            "n": len(values),
            "values": values,
        }
        tables[metric.name] = [each for _, each in scored]
    return results, tables


def _not_finite(scored: list[Scores]) -> str | None:
    """Why values cannot be reported as numbers, or None."""
    bad = {utt for _, each in scored for utt, value in each.items() if value is not None and not math.isfinite(value)}
    if bad:
        return f"is not a number for {len(bad)} utterances ({few(sorted(bad))})"
    return None if all(math.isfinite(corpus) for corpus, _ in scored) else "is not a number"


def write_scores(
    output: str | Path, results: dict, tables: dict, pairs: Pairs, meta: dict, hallucinations: list[dict] | None = None
) -> None:
    """Write scores.tsv (per utterance) and score_meta.json, then score.json (`output`), all in the same folder.

    Args:
        meta: how the scores were made: the command, the segmentation, ...
        hallucinations: the lines of hallucinations.jsonl (hallucination.listed), or None if none were asked for: then
            that of an earlier run is removed.
    """
    output = Path(output)
    make_dir(output.parent)
    details = output.parent / HALLUCINATIONS
    if hallucinations is None:
        details.unlink(missing_ok=True)
    else:
        with atomic_write(details) as stream:
            stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in hallucinations)
    with atomic_write(output.parent / "scores.tsv") as stream:
        print("id", "candidate", *tables, sep="\t", file=stream)
        for utt in pairs.references:
            for at in range(len(pairs.candidates)):
                values = [table[at][utt] for table in tables.values()]
                cells = ["" if value is None else f"{value:.4f}" for value in values]
                print(utt, at + 1, *cells, sep="\t", file=stream)
    write_json(output.parent / "score_meta.json", meta)
    write_json(output, results)

"""From the answers of all listeners to the results of a listening test."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet2_secap.data.text_file import read_table
from espnet2_secap.errors import SecError, listed, shorten
from espnet2_secap.listen import stats
from espnet2_secap.listen.answers import Sheet, merge, read_sheet, usable
from espnet2_secap.listen.design import CATCH, RATED, Design
from espnet2_secap.listen.results import Analysis, Listener, Results
from espnet2_secap.listen.store import Store
from espnet2_secap.report.collect import Score
from espnet2_secap.report.resample import Utterances

SAME = 5  # answers, from which a listener who gave no two different ones is flagged
SHARED = 5  # captions that others have rated too, from which a correlation tells something
CATCHES = 3  # catch trials, from which their failures tell something
GOOD = 2  # the highest right score of a catch trial: it describes no emotion, or another one


@dataclass(frozen=True)
class Limits:
    """What flags a listener: correlation with the others, seconds for an item, share of failed catch trials."""

    correlation: float = 0.3
    seconds: float = 1.0
    catch: float = 0.34


def read_known(path: str | Path) -> dict[str, int]:
    """Listener -> group, of tokens.tsv.

    Raises:
        SecError: it was not written by sec_listen serve.
    """
    try:
        header, *rows = read_table(path)
        if header[:2] != ["listener", "group"] or not rows:
            raise ValueError
        return {row[0]: int(row[1]) for row in rows}
    except (ValueError, IndexError) as err:
        if isinstance(err, SecError):
            raise
        raise SecError(f"{path}: is no tokens.tsv of sec_listen serve (listener, group, link)") from None


def read_all(
    files: Sequence[str],
    design: Design,
    least: float,
    known: Mapping[str, int] | None,
    note: Callable[[str], None],
) -> list[Sheet]:
    """The sheets of all listeners that count, one each; `note` is told the rest.

    Raises:
        SecError: a database that cannot be read; nothing is left.
    """
    sheets: list[Sheet] = []
    for name in dict.fromkeys(files):
        if name.endswith(".sqlite"):
            store = Store(name, design)
            sheets += store.sheets()
            store.close()
        elif (sheet := read_sheet(name, design, note)) is not None:
            sheets.append(sheet)
    kept = usable(merge(sheets, note), design, least, note, known)
    if not kept:
        raise SecError(f"--answers {listed(list(files))}: no answers that count; see the lines above")
    return sorted(kept, key=lambda sheet: sheet.listener)


def analysed(design: Design, sheets: Sequence[Sheet], limits: Limits, given: Sequence[str] = ()) -> Results:
    """All results.

    Args:
        design: of the test.
        sheets: one per listener.
        limits: that flag listeners.
        given: SYSTEM=score.json, whose metrics are correlated with MOS.

    Raises:
        SecError: a score of an unknown system or without values per utterance.
    """
    scores = score_array(design, sheets)
    metrics = read_metrics(design, given)
    listeners = [judged(design, sheets, scores, at, limits) for at in range(len(sheets))]
    good = [at for at, one in enumerate(listeners) if not one.flags]
    parts = {"all listeners": analysis(scores, metrics)}
    if 0 < len(good) < len(sheets):
        parts["without flagged listeners"] = analysis(scores[good], metrics)
    return Results(design, listeners, scores, parts)


def score_array(design: Design, sheets: Sequence[Sheet]) -> np.ndarray:
    """(listeners, utterances, systems): the scores of rated items."""
    utts = {utt: at for at, utt in enumerate(design.utterances)}
    scores = np.full((len(sheets), len(utts), len(design.systems)), np.nan)
    for row, sheet in enumerate(sheets):
        items = design.asked(sheet.group)
        for name, answer in sheet.answers.items():
            item = items[name]
            if item.kind == RATED:
                scores[row, utts[item.utt], design.systems.index(item.system)] = answer.score
    return scores


def analysis(scores: np.ndarray, metrics: Mapping[str, np.ndarray]) -> Analysis:
    """What the ratings (listeners, utterances, systems) of some listeners say."""
    means = stats.utterance_means(scores)
    correlations = {
        name: {kind: stats.correlate(values, means, kind == "system") for kind in ("utterance", "system")}
        for name, values in metrics.items()
    }
    return Analysis(
        listeners=len(scores),
        mos=stats.mean_scores(scores),
        pairs=stats.compare(scores),
        alpha={level: stats.alpha(scores, level) for level in ("ordinal", "interval")},
        correlations=correlations,
    )


def judged(design: Design, sheets: Sequence[Sheet], scores: np.ndarray, at: int, limits: Limits) -> Listener:
    """What speaks for and against the listener number `at`."""
    sheet, own = sheets[at], scores[at]
    items = design.asked(sheet.group)
    values = own[np.isfinite(own)]
    rest = stats.utterance_means(np.delete(scores, at, axis=0)) if len(sheets) > 1 else np.full_like(own, np.nan)
    both = np.isfinite(own) & np.isfinite(rest)
    correlation = None
    if both.sum() >= SHARED and np.ptp(own[both]) > 0 and np.ptp(rest[both]) > 0:
        correlation = float(np.corrcoef(own[both], rest[both])[0, 1])
    spare = [one.seconds - design.seconds[items[name].utt] for name, one in sheet.answers.items()]
    caught = [one.score > GOOD for name, one in sheet.answers.items() if items[name].kind == CATCH]
    flags = []
    if correlation is not None and correlation < limits.correlation:
        flags.append(f"correlates {correlation:.2f} with the others")
    if len(values) >= SAME and np.ptp(values) == 0:
        flags.append(f"gave {values[0]:.0f} every time")
    if statistics.median(spare) < limits.seconds:
        flags.append(f"took {statistics.median(spare):.1f} s for an item, without the recording")
    if len(caught) >= CATCHES and sum(caught) > limits.catch * len(caught):
        flags.append(f"failed {sum(caught)} of {len(caught)} catch trials")
    return Listener(
        sheet.listener, sheet.group, len(sheet.answers), len(items), float(np.mean(values)) if len(values) else None,
        correlation, statistics.median(spare), sum(caught), len(caught), flags,
    )  # fmt: skip


def read_metrics(design: Design, given: Sequence[str]) -> dict[str, np.ndarray]:
    """Metric -> its values (utterances, systems) of the rated captions, NaN for none.

    Args:
        design: of the test.
        given: SYSTEM=score.json; scores.tsv beside it has the values.

    Raises:
        SecError: no such form or system, a file that sec_score did not write, none of the rated utterances in it.
    """
    metrics: dict[str, np.ndarray] = {}
    shape = len(design.utterances), len(design.systems)
    seen = set()
    for one in given:
        system, equals, path = one.partition("=")
        if not equals or not path:
            raise SecError(f"--scores {shorten(one)}: must be SYSTEM=score.json")
        if system not in design.systems:
            raise SecError(f"--scores {shorten(one)}: the test has no such system, but {listed(design.systems)}")
        if system in seen:
            raise SecError(f"--scores {shorten(one)}: the system occurs twice; give one score.json for each")
        seen.add(system)
        if not Path(path).is_file():
            raise SecError(f"{path}: does not exist; give the score.json that sec_score has written")
        scored = Utterances(Score(system, "", {}, {}, Path(path).parent))
        rows = {utt: at for at, utt in enumerate(scored.ids)}
        if not rows.keys() & set(design.utterances):
            raise SecError(f"{path}: has none of the rated utterances; score the captions that were rated")
        for name, values in scored.values.items():  # the first candidate is the one that was rated
            table = metrics.setdefault(name, np.full(shape, np.nan))
            for at, utt in enumerate(design.utterances):
                if utt in rows:
                    table[at, design.systems.index(system)] = values[0, rows[utt]]
    return {name: values for name, values in metrics.items() if np.isfinite(values).any()}

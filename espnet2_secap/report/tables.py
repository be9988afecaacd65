"""The tables of the report: scores of a set, example captions, probes."""

from collections.abc import Sequence
from statistics import fmean, stdev

from espnet2_secap.errors import SecError
from espnet2_secap.metric.registry import column_order, find_metric
from espnet2_secap.report.collect import Score, differing_references, is_sanity, marked, read_examples
from espnet2_secap.report.quoted import MARK, Quoted
from espnet2_secap.report.table import Cell, Table


def score_table(scores: list[Score], quoted: Quoted | None = None) -> tuple[Table, list[str]]:
    """Systems by metrics for one set, with the best of each column in bold, and the notes to its cells.

    Args:
        scores: all of the same set, in the order of the rows.
        quoted: published results for rows below ours; they are never marked as best.
    """
    below = quoted.below(scores[0].dset) if quoted else {}
    others = differing_references(scores)
    columns = column_order(name for values in [*(s.metrics for s in scores), *below.values()] for name in values)
    best = {name: _best(name, [score for score in scores if not score.oracle]) for name in columns}
    notes: list[str] = []
    rows = []
    for score in scores:
        note = _mark(score.meta["note"], notes) if score.meta.get("note") else ""
        if score in others:
            note += _mark(f"other references than in the first row ({score.meta['ref']}): not comparable", notes)
        counts = {value["n"] for value in score.metrics.values() if value.get("n")}
        row = [Cell(score.system, code=True, note=note), Cell(", ".join(map(str, sorted(counts))) or "-")]
        for column in columns:
            value = score.metrics.get(column)
            if value is None:
                row.append(Cell("-"))
            elif value["mean"] is None:
                reason = f"{label(column)}: {value.get('reason', 'no reason given')}"
                row.append(Cell("n/a", note=_mark(reason, notes)))
            else:
                shown = f"{value['mean']:.2f}"
                spread = f" ±{value['std']:.2f}" if value.get("n", 1) > 1 and value.get("std") is not None else ""
                row.append(Cell(shown + spread, bold=len(scores) > 1 and not score.oracle and shown == best[column]))
        rows.append(row)
    for system, values in below.items():
        rows.append([Cell(system, note=MARK), Cell("-"), *(Cell(values.get(column, "-")) for column in columns)])
    numeric = set(range(1, len(columns) + 2))
    table = Table(["system", "n", *map(label, columns)], rows, numeric, quoted=len(below))
    notes = [f"({at}) {note}" for at, note in enumerate(notes, 1)]
    return marked(table, scores), [*notes, *([f"{MARK} {quoted.note}"] if below else [])]


def label(name: str) -> str:
    """A metric's label in tables; its name if this version does not have it (papers use others)."""
    try:
        return find_metric(name).label
    except SecError:
        return name


def spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation (n - 1) of two values or more: "71.95 ±0.40"; "-" of none."""
    if not values:
        return "-"
    return f"{fmean(values):.2f}" + (f" ±{stdev(values):.2f}" if len(values) > 1 else "")


def p_cell(p: float) -> Cell:
    """A p value, bold below 0.05."""
    return Cell(f"{p:.4f}" if p >= 0.001 else "< 0.001", bold=p < 0.05)


def between(span: tuple[float, float], sign: str = "") -> str:
    """An interval: "12.00 to 15.50", with signs "+1.00 to +2.00"."""
    return f"{span[0]:{sign}.2f} to {span[1]:{sign}.2f}"


def segmentation(scores: list[Score]) -> str:
    """The segmentation of the n-gram metrics: "char", or each one with the systems that were scored with it."""
    by_segment: dict[str, list[str]] = {}
    for score in scores:
        how = score.meta.get("segment", "unknown")
        how += ", captions in NFKC" if score.meta.get("normalize") == "nfkc" else ""
        by_segment.setdefault(how, []).append(score.shown)
    if len(by_segment) == 1:
        return next(iter(by_segment))
    return "; ".join(f"{segment} ({', '.join(systems)})" for segment, systems in by_segment.items())


def example_table(scores: list[Score], limit: int) -> Table | None:
    """The first utterances of a set: a reference, and the first caption of each system that uses the audio."""
    shown = [(score, found) for score in scores if (found := read_examples(score)) and not is_sanity(score.system)]
    if not shown or limit < 1:
        return None
    references = shown[0][1][0]
    rows = []
    for utt in sorted(references)[:limit]:
        captions = [found[1].get(utt, ["-"])[0] for _, found in shown]
        rows.append([Cell(utt, code=True), Cell(references[utt][0]), *map(Cell, captions)])
    return Table(["utterance", "a human caption", *(score.shown for score, _ in shown)], rows)


def probe_table(probes: list[dict]) -> Table | None:
    """Linear probes of the frozen embeddings: accuracy and chance in per cent, number of utterances."""
    found = (key for probe in probes for key, value in probe.items() if isinstance(value, dict) and "accuracy" in value)
    whats = list(dict.fromkeys(found))
    if not whats:
        return None
    rows = []
    for probe in probes:
        cells = [_probe_cell(probe[what] if isinstance(probe.get(what), dict) else {}) for what in whats]
        rows.append([Cell(str(probe["system"]), code=True), Cell(str(probe["set"])), *cells])
    header = ["system", "set", *(f"{what}: accuracy (chance, n)" for what in whats)]
    return Table(header, rows, set(range(2, len(header))))


def _probe_cell(value: dict) -> Cell:
    if not isinstance(value.get("accuracy"), (int, float)):
        return Cell("n/a" + (f": {value['reason']}" if value.get("reason") else ""))
    chance = value.get("chance")
    known = [f"{100 * chance:.1f}" if isinstance(chance, (int, float)) else "-", str(value.get("n", "-"))]
    return Cell(f"{100 * value['accuracy']:.1f} ({', '.join(known)})")


def _best(name: str, scores: list[Score]) -> str | None:
    means = [score.metrics[name]["mean"] for score in scores if name in score.metrics]
    means = [mean for mean in means if mean is not None]
    if not means or find_metric(name).neutral:
        return None
    return f"{(min if find_metric(name).lower_is_better else max)(means):.2f}"


def _mark(note: str, notes: list[str]) -> str:
    """The mark of a note, for the cell that it belongs to."""
    if note not in notes:
        notes.append(note)
    return f"({notes.index(note) + 1})"

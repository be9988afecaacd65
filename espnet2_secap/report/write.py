"""The text of RESULTS.md and RESULTS.tex."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from espnet2_secap.report.collect import Score
from espnet2_secap.report.hallucinations import hallucination_table
from espnet2_secap.report.listens import TITLE, Listening, interval_table, listening
from espnet2_secap.report.quoted import Quoted
from espnet2_secap.report.resample import RESAMPLES, Resampled
from espnet2_secap.report.table import Cell, Table, latex, one_line
from espnet2_secap.report.tables import example_table, probe_table, score_table, segmentation
from espnet2_secap.report.zero_shot import zero_shot_table

INTERVALS = f"Percentiles 2.5 and 97.5 of {RESAMPLES} bootstrap resamples of the utterances."


@dataclass(frozen=True)
class Report:
    """The content of the report.

    Args:
        scores: in the order of the rows.
        command: the command that writes the report.
        probes: contents of probe.json files.
        goals: the table of goals, if there are any.
        picture: path of the training curves relative to the report, if there are any.
        examples: number of utterances shown per set.
        quoted: published results, shown below ours.
        resampled: the values of the scores by utterance.
    """

    scores: list[Score]
    command: str
    probes: list[dict] = field(default_factory=list)
    goals: Table | None = None
    picture: str | None = None
    examples: int = 10
    quoted: Quoted | None = None
    resampled: Resampled = field(default_factory=Resampled)

    def sets(self) -> dict[str, list[Score]]:
        """set -> its scores."""
        sets: dict[str, list[Score]] = {}
        for score in self.scores:
            sets.setdefault(score.dset, []).append(score)
        return dict(sorted(sets.items()))

    @cached_property
    def listens(self) -> dict[str, Listening | None]:
        """set -> whether its systems listen, for the first table of the set."""
        return {dset: listening(scores, self.resampled) for dset, scores in self.sets().items()}

    @cached_property
    def zero_shot(self) -> tuple[str, Table] | None:
        """Title and table of the sets of other corpora, if there are any."""
        return zero_shot_table(self.scores, self.resampled)

    def text(self) -> str:
        """The numbers as plain text for the terminal."""
        parts = []
        for dset, scores in self.sets().items():
            if heard := self.listens[dset]:
                below = "".join(one_line(note) + "\n" for note in heard.notes)
                parts.append(f"{TITLE} {title(dset, scores)}\n{heard.table.text() if heard.table else ''}{below}")
            table, notes = score_table(scores, self.quoted)
            lines = [title(dset, scores), *notes, legend(scores)]
            above, *below = (one_line(line) + "\n" for line in lines)
            parts.append(above + table.text() + "".join(below))
        parts += [f"{title}\n{table.text()}" for title, table in self.more_tables()]
        return "\n".join(parts)

    def markdown(self) -> str:
        """The complete report."""
        parts = [f"# Results\n\nWritten by {code(self.command)}; manual changes will be lost.\n"]
        for dset, scores in self.sets().items():
            if heard := self.listens[dset]:
                said = "".join(Cell(note).markdown() + "  \n" for note in heard.notes)
                shown = f"{heard.table.markdown()}\n" if heard.table else ""
                parts.append(f"## {TITLE} {Cell(title(dset, scores)).markdown()}\n\n{shown}{said}")
            table, notes = score_table(scores, self.quoted)
            notes = [Cell(note).markdown() + "  \n" for note in notes] + [Cell(legend(scores)).markdown() + "\n"]
            parts.append(f"## {Cell(title(dset, scores)).markdown()}\n\n{table.markdown()}\n{''.join(notes)}")
            if spans := interval_table(scores, self.resampled):
                heading = f"### 95% intervals of {Cell(dset).markdown()}"
                parts.append(f"{heading}\n\n{spans.markdown()}\n{INTERVALS}\n")
        parts += [f"## {Cell(title).markdown()}\n\n{table.markdown()}" for title, table in self.more_tables()]
        if self.picture:
            parts.append(f"## Training\n\n![training curves]({quote(self.picture)})\n")
        for dset, scores in self.sets().items():
            table = example_table(scores, self.examples)
            if table:
                parts.append(f"## Captions of {Cell(dset).markdown()}: its first utterances\n\n{table.markdown()}")
        made_by = commands(self.scores)
        parts.append(f"## Commands\n\n{fence(made_by)}sh\n{made_by}{fence(made_by)}\n")
        return "\n".join(parts)

    def latex(self) -> str:
        r"""The tables of the sets, for \input; a table that is wider than the line is scaled down."""
        parts = ["% Written by sec_report; needs \\usepackage{booktabs,graphicx}\n"]
        for dset, scores in self.sets().items():
            tag = re.sub("[^A-Za-z0-9]+", "-", dset)
            heard = self.listens[dset]
            if heard and heard.table:
                parts.append(_floating(heard.table, f"{TITLE} {title(dset, scores)}.", f"{tag}-listens", heard.notes))
            table, notes = score_table(scores, self.quoted)
            parts.append(_floating(table, f"Results on {title(dset, scores)}. {legend(scores)}", tag, notes))
        if self.zero_shot:
            caption, table = self.zero_shot
            parts.append(_floating(table, f"{caption}.", "zero-shot", []))
        return "\n".join(parts)

    def more_tables(self) -> list[tuple[str, Table]]:
        """Title and table of everything except the scores."""
        beside = [(dset, hallucination_table(scores, self.resampled)) for dset, scores in self.sets().items()]
        tables = [
            self.zero_shot or ("", None),
            *((f"Hallucinations and coverage on {dset}, per cent", table) for dset, table in beside),
            ("Goals", self.goals),
            ("Probes of the frozen embeddings, per cent", probe_table(self.probes)),
        ]
        return [(title, table) for title, table in tables if table]


def _floating(table: Table, caption: str, tag: str, notes: list[str]) -> str:
    """A LaTeX table with its caption, the label tab:`tag`, and notes below it."""
    below = "".join(rf"\par\smallskip\footnotesize {latex(note)}" + "\n" for note in notes)
    return (
        "\\begin{table}[t]\n\\centering\n"
        rf"\caption{{{latex(caption)}}}" + "\n"
        rf"\label{{tab:{tag}}}" + "\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"{table.latex()}}}\n{below}\\end{{table}}\n"
    )


def title(dset: str, scores: list[Score]) -> str:
    """Heading of a set's table."""
    counts = sorted({str(score.meta["utterances"]) for score in scores if "utterances" in score.meta}, key=_by_number)
    size = f" ({' or '.join(counts)} utterances)" if counts else ""
    return f"{dset}{size}, per cent"


def _by_number(text: str) -> tuple[int, str]:
    return len(text), text


def legend(scores: list[Score]) -> str:
    """What the numbers in a set's table mean."""
    return (
        f"n: captions per utterance; mean ± standard deviation over them. Segmentation of the n-gram metrics: "
        f"{segmentation(scores)}. Bold: best of the column.\n"
    )


def fence(text: str, least: int = 3) -> str:
    """Enough backticks for a block of code, or inline code, that no backticks within the text can end."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def code(text: str) -> str:
    """Inline code for Markdown."""
    text, around = one_line(text), fence(text, 1)
    return f"{around} {text} {around}" if "`" in text else f"{around}{text}{around}"


def commands(scores: list[Score]) -> str:
    """The commands that made the scores, one per line."""
    lines = [score.meta.get("command", f"# {score.folder}: command not known") for score in scores]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))

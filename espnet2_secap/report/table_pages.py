"""TABLES.md, TABLES.tex and TABLES.html: sections of a table and notes, as Markdown, LaTeX and one HTML file."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_secap.report.table import Cell, Table, latex, one_line


@dataclass(frozen=True)
class Section:
    """A heading, a table (or none) and notes below it."""

    title: str
    table: Table | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def text(self) -> str:
        """For a terminal."""
        below = "".join(f"{one_line(note)}\n" for note in self.notes)
        return f"{one_line(self.title)}\n{self.table.text() if self.table else ''}{below}"

    def markdown(self) -> str:
        """For Markdown."""
        shown = f"{self.table.markdown()}\n" if self.table else ""
        return f"## {Cell(self.title).markdown()}\n\n{shown}" + "".join(f"{Cell(n).markdown()}  \n" for n in self.notes)

    def latex(self) -> str:
        """A floating table whose caption has the notes; nothing without a table."""
        if not self.table:
            return ""
        caption = latex(" ".join([f"{self.title}.", *self.notes]))
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", r"\resizebox{\linewidth}{!}{%"]
        return "\n".join([*lines, self.table.latex() + "}", r"\end{table}", ""])

    def html(self) -> str:
        """A section of a page."""
        shown = f"<div class='scroll'>\n{self.table.html()}</div>\n" if self.table else ""
        notes = "".join(f"<p class='note'>{html.escape(one_line(note))}</p>\n" for note in self.notes)
        return f"<section>\n<h2>{html.escape(one_line(self.title))}</h2>\n{shown}{notes}</section>\n"


def markdown(heading: str, about: str, sections: Sequence[Section]) -> str:
    """The Markdown file."""
    parts = [f"# {heading}\n\n{Cell(about).markdown()}\n", *(section.markdown() for section in sections)]
    return "\n".join(parts)


def tex(program: str, sections: Sequence[Section]) -> str:
    r"""The LaTeX file, for \input."""
    parts = [f"% Written by {program}; needs \\usepackage{{booktabs,graphicx}}\n", *(one.latex() for one in sections)]
    return "\n".join(part for part in parts if part)


def page(heading: str, about: str, sections: Sequence[Section]) -> str:
    """One HTML file that needs no other and runs no script."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = html.escape(heading)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{head}</title>\n<style>\n{style}</style>\n</head>\n<body>\n'
        f'<header>\n<h1>{head}</h1>\n<p class="note">{html.escape(about)}</p>\n</header>\n<main>\n'
        + "\n".join(section.html() for section in sections)
        + "</main>\n</body>\n</html>\n"
    )

"""A table as plain text, Markdown, LaTeX or HTML."""

import html
import unicodedata
from dataclasses import dataclass, field

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\|*`[]~"} | {"<": "&lt;", ">": "&gt;"})
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {char: f"{{{char}}}" for char in "[]*"}  # after the end of a row they would be read as its option
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
    | {">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "†": r"$^\dagger$"}
)


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: the text to show.
        bold: highlight it (not in plain text).
        code: whether it is a name or a path.
        note: a mark that refers to a note below the table, or "".
        tone: "good" (green) or "bad" (red) in HTML, or "".
    """

    text: str
    bold: bool = False
    code: bool = False
    note: str = ""
    tone: str = ""

    def plain(self) -> str:
        """The text and its note on one line."""
        return one_line(f"{self.text} {self.note}")

    def markdown(self) -> str:
        """The text with Markdown's special characters escaped."""
        text = one_line(self.text)
        if self.code and "`" not in text:
            text = "`" + text.replace("|", "\\|") + "`" if text else ""
        else:
            text = text.translate(_ESCAPES)
        text = f"**{text}**" if self.bold else text
        return f"{text} {self.note}" if self.note else text

    def latex(self) -> str:
        """The same for LaTeX. Other scripts are unchanged and need a font that has them."""
        text = latex(self.text)
        text = rf"\texttt{{{text}}}" if self.code and text else text
        text = rf"\textbf{{{text}}}" if self.bold else text
        return f"{text} {latex(self.note)}" if self.note else text

    def html(self) -> str:
        """The same for HTML."""
        text = html.escape(one_line(self.text))
        text = f"<code>{text}</code>" if self.code else text
        text = f"<b>{text}</b>" if self.bold else text
        return f"{text} <small>{html.escape(self.note)}</small>" if self.note else text


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header.

    Args:
        header: names of the columns.
        rows: cells, as many as columns.
        numeric: columns of numbers; they are right-aligned.
        quoted: number of rows at the end that are quoted from a paper; a line separates them.
    """

    header: list[str]
    rows: list[list[Cell]]
    numeric: set[int] = field(default_factory=set)
    quoted: int = 0

    def markdown(self) -> str:
        """A Markdown table, ending in a newline."""
        lines = [[Cell(name).markdown() for name in self.header]]
        lines.append(["---:" if at in self.numeric else "---" for at in range(len(self.header))])
        lines += [[cell.markdown() for cell in row] for row in self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def text(self) -> str:
        """Aligned columns for a terminal, where Chinese characters are two columns wide; ends in a newline."""
        lines = [self.header, *([cell.plain() for cell in row] for row in self.rows)]
        widths = [max(width(line[at]) for line in lines) for at in range(len(self.header))]
        line = ["-" * size for size in widths]
        lines.insert(1, line)
        if self.quoted:
            lines.insert(len(lines) - self.quoted, line)
        return "".join("  ".join(self._pad(line, widths)).rstrip() + "\n" for line in lines)

    def latex(self) -> str:
        """A tabular environment with booktabs rules; ends in a newline."""
        columns = "".join("r" if at in self.numeric else "l" for at in range(len(self.header)))
        lines = [" & ".join(cell.latex() for cell in row) + r" \\" for row in self.rows]
        if self.quoted:
            lines.insert(len(lines) - self.quoted, r"\midrule")
        head = " & ".join(map(latex, self.header)) + r" \\"
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *lines]
        return "".join(f"{line}\n" for line in [*lines, r"\bottomrule", r"\end{tabular}"])

    def html(self) -> str:
        """A table whose quoted rows have a body of their own; its first column heads the rows. Ends in a newline."""
        kinds = ["number" if at in self.numeric else "text" for at in range(len(self.header))]
        head = "".join(
            f'<th scope="col" class="{kind}">{html.escape(one_line(name))}</th>'
            for name, kind in zip(self.header, kinds, strict=True)
        )
        lines = []
        for first, *row in self.rows:
            cells = [
                f'<td class="{f"{kind} {cell.tone}".strip()}">{cell.html()}</td>'
                for cell, kind in zip(row, kinds[1:], strict=True)
            ]
            lines.append(f'<tr><th scope="row">{first.html()}</th>{"".join(cells)}</tr>\n')
        own = len(lines) - self.quoted
        bodies = f"<tbody>\n{''.join(lines[:own])}</tbody>\n"
        if self.quoted:
            bodies += f'<tbody class="quoted">\n{"".join(lines[own:])}</tbody>\n'
        return f"<table>\n<thead><tr>{head}</tr></thead>\n{bodies}</table>\n"

    def _pad(self, line: list[str], widths: list[int]) -> list[str]:
        gaps = [" " * (size - width(text)) for text, size in zip(line, widths, strict=True)]
        pairs = enumerate(zip(line, gaps, strict=True))
        return [gap + text if at in self.numeric else text + gap for at, (text, gap) in pairs]


def latex(text: str) -> str:
    """The text on one line with LaTeX's special characters escaped."""
    return one_line(text).translate(_LATEX)


def one_line(text: str) -> str:
    """The text on one line without control characters."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def width(text: str) -> int:
    """Number of columns of the text on a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)

"""A table that can be printed, or put into Markdown, LaTeX or HTML."""

import html
import unicodedata
from dataclasses import dataclass, field

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\|*`[]~"} | {"<": "&lt;", ">": "&gt;"})
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {char: f"{{{char}}}" for char in "[]*"}  # behind the end of a row they would be an option of it
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
    | {">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "†": r"$^\dagger$"}
)


@dataclass(frozen=True)
class Cell:
    """What stands in a table's field.

    Args:
        text: as a reader should see it.
        bold: whether it stands out (in print it does not).
        code: whether it is a name or a path.
        note: what points to a note behind the table, or "".
    """

    text: str
    bold: bool = False
    code: bool = False
    note: str = ""

    def plain(self) -> str:
        """The text and its note on one line."""
        return one_line(f"{self.text} {self.note}")

    def markdown(self) -> str:
        """The text with all that Markdown would take for markup made harmless."""
        text = one_line(self.text)
        if self.code and "`" not in text:
            text = "`" + text.replace("|", "\\|") + "`" if text else ""
        else:
            text = text.translate(_ESCAPES)
        text = f"**{text}**" if self.bold else text
        return f"{text} {self.note}" if self.note else text

    def latex(self) -> str:
        """The same for LaTeX. What is not Latin stays as it is and needs a font that has it."""
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
        rows: as many cells each.
        numeric: columns of numbers; they are right-aligned.
        quoted: how many of the last rows are not ours; a line stands above them.
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
        """Columns that line up on a terminal, Chinese characters being two wide; ends in a newline."""
        lines = [self.header, *([cell.plain() for cell in row] for row in self.rows)]
        widths = [max(width(line[at]) for line in lines) for at in range(len(self.header))]
        line = ["-" * size for size in widths]
        lines.insert(1, line)
        if self.quoted:
            lines.insert(len(lines) - self.quoted, line)
        return "".join("  ".join(self._pad(line, widths)).rstrip() + "\n" for line in lines)

    def latex(self) -> str:
        """A tabular with the lines of booktabs; ends in a newline."""
        columns = "".join("r" if at in self.numeric else "l" for at in range(len(self.header)))
        lines = [" & ".join(cell.latex() for cell in row) + r" \\" for row in self.rows]
        if self.quoted:
            lines.insert(len(lines) - self.quoted, r"\midrule")
        head = " & ".join(map(latex, self.header)) + r" \\"
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *lines]
        return "".join(f"{line}\n" for line in [*lines, r"\bottomrule", r"\end{tabular}"])

    def html(self) -> str:
        """A table, what is quoted in a body of its own; the first column names the rows. Ends in a newline."""
        kinds = ["number" if at in self.numeric else "text" for at in range(len(self.header))]
        head = "".join(
            f'<th scope="col" class="{kind}">{html.escape(one_line(name))}</th>'
            for name, kind in zip(self.header, kinds, strict=True)
        )
        lines = []
        for first, *row in self.rows:
            cells = [f'<td class="{kind}">{cell.html()}</td>' for cell, kind in zip(row, kinds[1:], strict=True)]
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
    """The text on one line with all that LaTeX would take for a command made harmless."""
    return one_line(text).translate(_LATEX)


def one_line(text: str) -> str:
    """The text on one line, control characters left out."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)

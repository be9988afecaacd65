"""A table that can be printed, or put into Markdown."""

import unicodedata
from dataclasses import dataclass, field

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\|*`[]~"} | {"<": "&lt;", ">": "&gt;"})


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


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; numbers (right-aligned) in the columns of `numeric`."""

    header: list[str]
    rows: list[list[Cell]]
    numeric: set[int] = field(default_factory=set)

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
        lines.insert(1, ["-" * size for size in widths])
        return "".join("  ".join(self._pad(line, widths)).rstrip() + "\n" for line in lines)

    def _pad(self, line: list[str], widths: list[int]) -> list[str]:
        gaps = [" " * (size - width(text)) for text, size in zip(line, widths, strict=True)]
        pairs = enumerate(zip(line, gaps, strict=True))
        return [gap + text if at in self.numeric else text + gap for at, (text, gap) in pairs]


def one_line(text: str) -> str:
    """The text on one line, control characters left out."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)

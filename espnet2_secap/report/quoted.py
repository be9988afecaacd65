"""Published results of papers, shown below ours: quoted_<name>.json."""

import json
from dataclasses import dataclass
from pathlib import Path

MARK = "†"


@dataclass(frozen=True)
class Quoted:
    """Rows of a paper's table.

    Args:
        note: their source, and how far they are comparable.
        rows: system -> metric -> value in per cent, as printed there.
    """

    note: str
    rows: dict[str, dict[str, str]]

    def below(self, dset: str) -> dict[str, dict[str, str]]:
        """The rows for a set's table; none unless its name begins with "test", since papers report test sets."""
        return self.rows if dset.startswith("test") else {}


def quotable() -> list[str]:
    """The names that `read_quoted` accepts."""
    return sorted(path.stem.removeprefix("quoted_") for path in Path(__file__).parent.glob("quoted_*.json"))


def read_quoted(name: str) -> Quoted:
    """The rows of `quoted_<name>.json`: {"note": ..., "rows": [{"system": ..., "values": {metric: "12.34"}}]}."""
    content = json.loads(Path(__file__).with_name(f"quoted_{name}.json").read_text(encoding="utf-8"))
    return Quoted(content["note"], {row["system"]: row["values"] for row in content["rows"]})

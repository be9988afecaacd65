"""candidates.jsonl of sec_inference: several captions for each utterance of a set; and the utterances of sets."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.text_file import UTF8, read_names
from espnet2_secap.data.utterances import scp_of
from espnet2_secap.errors import SecError, shorten

DECODED = "candidates.jsonl"


def decoded_file(path: str | Path) -> Path:
    """candidates.jsonl in a folder of sec_inference, or the file itself."""
    path = Path(path)
    return path / DECODED if path.is_dir() else path


def ids_of(folder: str | Path) -> list[str]:
    """The utterances of a data directory, of features or audio; of a file the first field of each line.

    Raises:
        SecError: there is no such thing.
    """
    if Path(folder).is_dir():
        return list(read_kaldi(scp_of(folder)))
    return read_names(folder)


def forbidden_ids(folders: Sequence[str]) -> dict[str, str]:
    """Id -> the folder that has it, of validation and test sets; see `ids_of`."""
    return {utt: str(folder) for folder in folders for utt in ids_of(folder)}


@dataclass(frozen=True)
class Row:
    """An utterance with its candidates: the instruction, the texts, and the clues that the model read (None: none were
    asked for)."""

    id: str
    prompt: str
    texts: list[str]
    clues: list[str] | None = None


class CandidateFile:
    """Rows of candidates.jsonl, read when they are needed.

    Raises:
        SecError: no such file, or a line that is not of sec_inference.
    """

    def __init__(self, path: Path):
        self.path, self._at = path, {}
        if not path.is_file():
            raise SecError(f"{path}: does not exist; give candidates.jsonl of sec_inference, or its folder")
        with open(path, "rb") as stream:
            at = 0
            for number, line in enumerate(stream, 1):
                if line.strip():
                    row = self._row(line, number)
                    if row.id in self._at:
                        raise SecError(f"{path}:{number}: {shorten(row.id)}: the id occurs twice; decode the set again")
                    self._at[row.id] = at, number
                at += len(line)
        if not self._at:
            raise SecError(f"{path}: is empty; run sec_inference again")

    @property
    def ids(self) -> list[str]:
        """In the file's order."""
        return list(self._at)

    def rows(self, ids: Sequence[str]) -> Iterator[Row]:
        """The rows of some utterances."""
        with open(self.path, "rb") as stream:
            for utt in ids:
                at, number = self._at[utt]
                stream.seek(at)
                yield self._row(stream.readline(), number)

    def _row(self, line: bytes, number: int) -> Row:
        try:
            row = json.loads(line.decode("utf-8-sig"))
            found = Row(row["id"], row["prompt"], [one["text"] for one in row["candidates"]], row.get("clues"))
            said = [found.id, found.prompt, *found.texts, *(found.clues or ())]
            if not isinstance(found.clues, list | None):
                raise TypeError
        except UnicodeDecodeError:
            raise SecError(f"{self.path}:{number}: {UTF8}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            said = [None]
        if not all(isinstance(one, str) for one in said):
            raise SecError(
                f"{self.path}:{number}: is not a line of candidates.jsonl (id, prompt, candidates with text);"
                " decode the training set with sec_inference"
            ) from None
        return found

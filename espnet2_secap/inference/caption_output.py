"""What sec_caption writes: a journal beside the output while it works, then the output in one of four formats."""

import csv
import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet2_secap.data.io import atomic_write, make_dir, named_os_errors, write_kaldi
from espnet2_secap.decoder.options import SetOptions
from espnet2_secap.errors import SecError
from espnet2_secap.process import jobs
from espnet2_secap.tasks.experiment import find_model, named_files, read_config

KINDS = {".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv", "": "captions"}
COLUMNS = ("id", "file", "start", "end", "rank", "caption", "score")


@dataclass(frozen=True)
class Captioned:
    """A recording or a piece of one, with its captions.

    Args:
        id: of the piece.
        file: the recording's path.
        start, end: in seconds.
        candidates: {"text", "score"}, best first.
    """

    id: str
    file: str
    start: float
    end: float
    candidates: list[dict]


def kind_of(path: str | Path) -> str:
    """The format that a name asks for: jsonl, csv, tsv or captions (Kaldi's lines).

    Raises:
        SecError: another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise SecError(
            f"--output {path}: unknown ending {path.suffix}; use .jsonl, .csv or .tsv, or none for `captions`"
        )
    return KINDS[path.suffix.lower()]


def write_output(path: str | Path, rows: Iterable[Captioned]) -> None:
    """Write the rows in the format of `kind_of`, at once or not at all.

    A table has one line per candidate; `captions` has one line per id, sorted by id, with a JSON list.
    """
    rows, kind = list(rows), kind_of(path)
    if kind == "captions":
        texts = {row.id: [one["text"] for one in row.candidates] for row in rows}
        # Not write_captions: what a model writes may be empty.
        write_kaldi(path, {utt: json.dumps(text, ensure_ascii=False) for utt, text in texts.items()})
        return
    with atomic_write(path) as stream:
        if kind == "jsonl":
            for row in rows:
                content = vars(row) | {"file": printable(row.file), "caption": row.candidates[0]["text"]}
                print(json.dumps(content, ensure_ascii=False), file=stream)
            return
        table = csv.writer(stream, delimiter="," if kind == "csv" else "\t", lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            for rank, one in enumerate(row.candidates, 1):
                values = (row.id, printable(row.file), row.start, row.end, rank, one["text"], one["score"])
                table.writerow(values)


def printable(text: str) -> str:
    """Text that fits on one line of UTF-8, whatever bytes a file's name has."""
    return "".join(c if c.isprintable() else "?" for c in text)


def fingerprint(
    model: str | Path, options: SetOptions, max_seconds: float | None, sources: Sequence | None = None
) -> str:
    """16 digits for a model and all options that its captions depend on.

    Args:
        model: an experiment's folder or a model file.
        options: of decoding. Batch size and seed count only where tokens are drawn at random.
        max_seconds: longest piece.
        sources: what tells the content of files that the options name.

    Raises:
        SecError: there is no model, or no config.yaml that can be read.
    """
    config_file, model_file = find_model(model)
    config = vars(read_config(config_file, {}))
    values = asdict(options) | {"device": options.device.split(":")[0], "max_seconds": max_seconds}
    if not options.sampling:
        del values["batch_size"], values["seed"]
    content = [values, config, jobs.file_digest(model_file), jobs.stamps(named_files(config))]
    return jobs.fingerprint([*content, *(sources or ())])[:16]


class Journal:
    """What has been captioned so far, a line per recording that was read and per batch, on disk as soon as it is known.

    Its first line says what made it; a journal of another model or other options is begun anew. A line that a killed
    process has not finished is removed. Two processes cannot use one journal at the same time.

    Args:
        output: the output; the journal is OUTPUT.journal. None: nothing is kept.
        fingerprint: of the model and the options.

    Attributes:
        replaced: whether there was a journal of another model or other options.

    Raises:
        SecError: the output is there without a journal, or another process uses it.
        OSError: no permission to write there.
    """

    def __init__(self, output: str | Path | None, fingerprint: str):
        self.recordings: dict[str, dict] = {}  # id -> {"stamp", "fs", "pieces"}
        self.captions: dict[str, list[dict]] = {}  # id of a piece -> its candidates
        self.replaced = False
        self._stream = None
        if output is None:
            return
        output = Path(output)
        self.path = Path(f"{output}.journal")
        make_dir(output.parent)
        with named_os_errors(output):
            if output.is_dir():
                raise SecError(f"--output {output}: is a folder; name a file in it")
            if os.path.lexists(output) and not self.path.is_file():
                raise SecError(
                    f"--output {output}: is there already and was not written by this program (it has no journal "
                    f"{self.path.name}); choose another name, or move it away"
                )
            self._stream = open(self.path, "a+b")
        self._lock()
        self._resume({"sec_caption": 1, "fingerprint": fingerprint})

    def _lock(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SecError(f"{self.path}: another sec_caption writes there; wait for it, or stop it") from None
        except OSError:  # a file system without locks
            pass

    def _resume(self, header: dict) -> None:
        self._stream.seek(0)
        end = 0
        for number, line in enumerate(self._stream):
            try:
                content = json.loads(line) if line.endswith(b"\n") else None
                if not isinstance(content, dict) or (number == 0 and content != header):
                    self.replaced = number == 0 and isinstance(content, dict)
                    break
                self._take(content)
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            end += len(line)
        self._stream.truncate(end)
        if end == 0:
            self._add(header)

    def _take(self, content: dict) -> None:
        for name, recording in content.get("recordings", {}).items():
            before = self.recordings.get(name, recording)
            if before != recording:
                for piece, _, _ in before["pieces"]:
                    self.captions.pop(piece, None)
            self.recordings[name] = recording
        self.captions |= content.get("captions", {})

    def add_recording(self, name: str, stamp: list, fs: int, pieces: list[Sequence]) -> None:
        """Keep what was read.

        Args:
            name: the recording's id.
            stamp: size and time of its file.
            fs: sampling rate in Hz.
            pieces: (id, start, end) in samples at `fs`.
        """
        pieces = [list(piece) for piece in pieces]
        self._keep({"recordings": {name: {"stamp": stamp, "fs": fs, "pieces": pieces}}})

    def add_captions(self, captions: dict[str, list[dict]]) -> None:
        """Keep a batch: id of a piece -> candidates {"text", "score"}, best first."""
        self._keep({"captions": captions})

    def _keep(self, content: dict) -> None:
        self._take(content)
        self._add(content)

    def _add(self, content: dict) -> None:
        if self._stream is not None:
            with named_os_errors(self.path):
                self._stream.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")
                self._stream.flush()

    def close(self) -> None:
        """Let others use it."""
        if self._stream is not None:
            self._stream.close()

"""What decoding writes: a journal per job while it runs, then `captions` and `candidates.jsonl`."""

import json
import random
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO

from espnet2_secap.data.io import atomic_write, make_dir, named_os_errors, read_kaldi, write_kaldi
from espnet2_secap.data.utterances import scp_of
from espnet2_secap.errors import SecError


def other_audio(ids: list[str], seed: int) -> dict[str, str]:
    """For every id another one, each used once: a random cycle through all ids."""
    if len(ids) < 2:
        raise SecError("shuffled audio needs a set of at least two utterances")
    cycle = sorted(ids)
    random.Random(seed).shuffle(cycle)
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def job_file(folder: str | Path, job: int, nj: int) -> Path:
    """The journal of job `job` of `nj`."""
    return Path(folder) / ".jobs" / f"decoded.{job}of{nj}.jsonl"


class Journal:
    """The batches that a job has decoded, a line each, on the disk as soon as they are there.

    The first line, the header, says what they are made from; a job that was killed takes over what has the same
    header, from whatever number of jobs, and goes on.

    Args:
        folder, job, nj: see `job_file`.
        header: {"fingerprint", "seed"}.
        numbers: of the job's batches.
    """

    def __init__(self, folder: str | Path, job: int, nj: int, header: dict, numbers: Collection[int]):
        self.path = job_file(folder, job, nj)
        self.done: dict[int, list[dict]] = {}
        for path in make_dir(self.path.parent).glob("decoded.*.jsonl"):
            found, batches = read_journal(path)
            if found == header:
                self.done |= {number: rows for number, rows in batches.items() if number in numbers}
        with atomic_write(self.path) as file:
            print(json.dumps(header), file=file)
            _add(file, self.done.items())

    def add(self, number: int, rows: list[dict]) -> None:
        """Keep a batch: rows {"id", "prompt", "candidates": [{"text", "score"}], "kept"}, best candidates first."""
        with named_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            _add(file, [(number, rows)])


def _add(file: IO, batches: Iterable[tuple[int, list[dict]]]) -> None:
    for number, rows in batches:
        print(json.dumps({"batch": number, "rows": rows}, ensure_ascii=False), file=file)


def read_journal(path: str | Path) -> tuple[dict, dict[int, list[dict]]]:
    """Header and rows by batch, up to the first line that is not whole."""
    header, batches = {}, {}
    for line in Path(path).read_bytes().splitlines(keepends=True):
        try:
            content = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        if header:
            batches[content["batch"]] = content["rows"]
        else:
            header = content
    return header, batches


def combine(folder: str | Path, data_dir: str | Path, nj: int, shuffled_dir: str | Path | None = None) -> int:
    """Join the jobs' batches into `captions` and `candidates.jsonl`; returns the number of utterances.

    Args:
        shuffled_dir: where each utterance gets the captions of another's audio, if wanted.

    Raises:
        SecError: a job has not begun or not ended, or the jobs did not decode the same.
    """
    paths = [job_file(folder, job, nj) for job in range(1, nj + 1)]
    missing = [str(job) for job, path in enumerate(paths, 1) if not path.is_file()]
    if missing:
        raise SecError(f"{folder}: decoding jobs {' '.join(missing)} of {nj} have not ended; run stage 7 again")
    journals = [read_journal(path) for path in paths]
    headers = [header for header, _ in journals]
    if any(header != headers[0] for header in headers):
        raise SecError(f"{folder}: jobs decoded with different models, data or options; run stage 7 again")
    rows = {row["id"]: row for _, batches in journals for batch in batches.values() for row in batch}
    ids = sorted(read_kaldi(scp_of(data_dir)))
    lost = [utt for utt in ids if utt not in rows]
    if lost:
        raise SecError(f"{folder}: {len(lost)} utterances were not decoded ({lost[0]}, ...); run stage 7 again")
    _write(Path(folder), {utt: utt for utt in ids}, rows)
    if shuffled_dir:
        _write(make_dir(shuffled_dir), other_audio(ids, headers[0]["seed"]), rows)
    shutil.rmtree(Path(folder) / ".jobs")
    return len(ids)


def _write(folder: Path, audio_of: dict[str, str], rows: dict[str, dict]) -> None:
    """Write what was decoded from the audio that each utterance is given."""
    with atomic_write(folder / "candidates.jsonl") as file:
        for utt, audio in sorted(audio_of.items()):
            print(json.dumps({"id": utt, "audio": audio} | (rows[audio] | {"id": utt}), ensure_ascii=False), file=file)
    texts = {
        utt: [candidate["text"] for candidate in rows[audio]["candidates"][: rows[audio]["kept"]]]
        for utt, audio in audio_of.items()
    }
    # Not write_captions: what a model writes may be empty, and is then scored as empty.
    write_kaldi(folder / "captions", {utt: json.dumps(text, ensure_ascii=False) for utt, text in texts.items()})

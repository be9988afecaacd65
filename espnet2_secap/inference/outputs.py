"""What decoding writes: one file per job while it runs, then `captions` and `candidates.jsonl`."""

import json
import random
from pathlib import Path

from espnet2_secap.data.io import atomic_write, make_dir, read_kaldi, write_kaldi
from espnet2_secap.errors import SecError


def scp_of(data_dir: str | Path) -> Path:
    """feats.scp of a folder of dumped features, else its wav.scp."""
    for name in ("feats.scp", "wav.scp"):
        if (Path(data_dir) / name).is_file():
            return Path(data_dir) / name
    raise SecError(f"{data_dir}: neither feats.scp (stage 3) nor wav.scp (stage 2); run these stages first")


def other_audio(ids: list[str], seed: int) -> dict[str, str]:
    """For every id another one, each used once: a random cycle through all ids."""
    if len(ids) < 2:
        raise SecError("shuffled audio needs a set of at least two utterances")
    cycle = sorted(ids)
    random.Random(seed).shuffle(cycle)
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def job_file(folder: str | Path, job: int, nj: int) -> Path:
    """Where job `job` of `nj` writes its lines."""
    return Path(folder) / ".jobs" / f"candidates.{job}of{nj}.jsonl"


def write_job(folder: str | Path, job: int, nj: int, rows: list[dict]) -> None:
    """Write one job's rows {"id", "prompt", "candidates": [{"text", "score"}], "kept"}; best candidates first."""
    path = job_file(folder, job, nj)
    make_dir(path.parent)
    with atomic_write(path) as file:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False), file=file)


def combine(folder: str | Path, data_dir: str | Path, nj: int) -> int:
    """Join the jobs' rows into `captions` and `candidates.jsonl`; returns the number of utterances."""
    paths = [job_file(folder, job, nj) for job in range(1, nj + 1)]
    missing = [str(job) for job, path in enumerate(paths, 1) if not path.is_file()]
    if missing:
        raise SecError(f"{folder}: decoding jobs {' '.join(missing)} of {nj} have not ended; run stage 7 again")
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    rows = {row["id"]: row for row in rows}
    lost = sorted(set(read_kaldi(scp_of(data_dir))) - set(rows))
    if lost:
        raise SecError(f"{folder}: {len(lost)} utterances were not decoded ({lost[0]}, ...); run stage 7 again")
    with atomic_write(Path(folder) / "candidates.jsonl") as file:
        for utt in sorted(rows):
            print(json.dumps(rows[utt], ensure_ascii=False), file=file)
    texts = {utt: [candidate["text"] for candidate in row["candidates"][: row["kept"]]] for utt, row in rows.items()}
    # Not write_captions: what a model writes may be empty, and is then scored as empty.
    write_kaldi(Path(folder) / "captions", {utt: json.dumps(text, ensure_ascii=False) for utt, text in texts.items()})
    for path in paths:
        path.unlink()
    return len(rows)

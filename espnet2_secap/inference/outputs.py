"""What decoding writes: a journal per job while it runs, then `captions` and `candidates.jsonl`."""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from espnet2_secap.data.io import atomic_write, make_dir, read_kaldi, write_captions
from espnet2_secap.data.utterances import scp_of
from espnet2_secap.errors import SecError
from espnet2_secap.process.jobs import UNFINISHED, gather, run_again
from espnet2_secap.text.roles import DEFAULT, QUERIES, reads_text

NAME = "decoded"  # of the journals: batch number -> rows {"id", "prompt", "candidates", "kept"}, best candidates first
SHUFFLED = "shuffled"  # in such a row: candidates and kept by another's audio and the own transcription
STAGE = 7


def keeps_own(condition: Sequence[str], clues: str | None) -> bool:
    """Whether an utterance keeps something of its own when another's audio is heard: its transcription, or clues that
    are not made of the audio (--clues)."""
    return reads_text(condition) or clues not in (None, "predicted", "retrieved")


def check_shuffled(data_dir: str | Path) -> None:
    """See that a set is large enough for shuffled audio.

    Raises:
        SecError: it is not, or has no utterances.
    """
    other_audio(list(read_kaldi(scp_of(data_dir))), seed=0)


def other_audio(ids: list[str], seed: int) -> dict[str, str]:
    """For every id another one, each used once: a random cycle through all ids."""
    if len(ids) < 2:
        raise SecError(
            "shuffled audio needs at least two utterances; leave --shuffled_audio_dir out (in a recipe:"
            " --shuffled_audio false)"
        )
    cycle = sorted(ids)
    random.Random(seed).shuffle(cycle)
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def combine(folder: str | Path, data_dir: str | Path, nj: int, shuffled_dir: str | Path | None = None) -> int:
    """Join the jobs' batches into `captions` and `candidates.jsonl`; returns the number of utterances.

    Args:
        shuffled_dir: where each utterance gets the captions of another's audio, if wanted; of a model that also reads
            the transcription, or is given clues, those of another's audio with the own transcription and clues. A
            model that reads no speech has no such row: a folder that an earlier decoding left is emptied of its
            captions.

    Raises:
        SecError: a job has not finished, or the jobs did not decode the same.
    """
    header, jobs = gather(folder, NAME, nj, STAGE)
    rows = {row["id"]: row for batches in jobs.values() for batch in batches.values() for row in batch}
    ids = sorted(read_kaldi(scp_of(data_dir)))
    lost = [utt for utt in ids if utt not in rows]
    if lost:
        what = f"{UNFINISHED}, {len(lost)} utterances were not decoded ({lost[0]}, ...)"
        raise run_again(folder, STAGE, nj, dict.fromkeys(jobs, what))
    _write(Path(folder), {utt: utt for utt in ids}, rows, header)
    condition = header.get("condition", DEFAULT)
    if shuffled_dir and QUERIES not in condition:
        print(f"note: the model reads no speech (condition {', '.join(condition)}): no row of shuffled audio")
        for name in ("captions", "candidates.jsonl", "score.json"):
            (Path(shuffled_dir) / name).unlink(missing_ok=True)
    elif shuffled_dir:
        others = other_audio(ids, header["seed"])
        if keeps_own(condition, header.get("clues")):
            lost = [utt for utt in ids if SHUFFLED not in rows[utt]]
            if lost:
                what = f"{lost[0]}, ... were decoded without --shuffled_audio_dir; give it to each job too"
                raise run_again(folder, STAGE, nj, dict.fromkeys(jobs, what))
            shuffled = {others[utt]: rows[utt][SHUFFLED] | {"prompt": rows[utt]["prompt"]} for utt in ids}
            _write(make_dir(shuffled_dir), others, shuffled, header)
        else:
            _write(make_dir(shuffled_dir), others, rows, header)
    shutil.rmtree(Path(folder) / ".jobs")
    return len(ids)


def _write(folder: Path, audio_of: dict[str, str], rows: dict[str, dict], header: dict) -> None:
    """Write what was decoded from the audio that each utterance is given; the first line has the header besides."""
    with atomic_write(folder / "candidates.jsonl") as file:
        first = {"header": header}
        for utt, audio in sorted(audio_of.items()):
            row = first | {"id": utt, "audio": audio} | (rows[audio] | {"id": utt})
            row.pop(SHUFFLED, None)
            print(json.dumps(row, ensure_ascii=False), file=file)
            first = {}
    texts = {
        utt: [candidate["text"] for candidate in rows[audio]["candidates"][: rows[audio]["kept"]]]
        for utt, audio in audio_of.items()
    }
    write_captions(folder / "captions", texts, may_be_empty=True)

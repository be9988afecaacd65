"""Log-probabilities of preference pairs by the model that preference optimisation starts from, computed once."""

import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import make_dir, read_kaldi, read_yaml, write_kaldi
from espnet2_secap.data.preferences import Expected, Pair, read_pairs
from espnet2_secap.data.reference_pairs import ReferencePair, read_reference_pairs, write_reference_pairs
from espnet2_secap.data.transcripts import read_transcripts
from espnet2_secap.data.utterances import Utterances, scp_of
from espnet2_secap.errors import SecError, few
from espnet2_secap.inference.decode import ahead
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.model.condition import padded_ids
from espnet2_secap.model.prefer import sequence_log_probs
from espnet2_secap.process.jobs import Journal, file_digest, gather, share
from espnet2_secap.progress import progress
from espnet2_secap.tasks import reference
from espnet2_secap.tasks.experiment import find_model
from espnet2_secap.tasks.front_end import check_input
from espnet2_secap.tasks.reference import SPLITS
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.clues import read_clues
from espnet2_secap.text.roles import CLUES, QUERIES, condition_of, reads_text

JOURNAL = "reference"  # batch number -> {id: rows of ReferencePair}
STAGE = 10


@dataclass(frozen=True)
class Job:
    """One job of `nj` (from 1) that asks the reference for a file of pairs.

    Args:
        pairs: files of pairs (data/preferences.py), read as one.
        data_dir: dump/<tag>/<set> of their utterances, or dump/raw/<set> for a model that reads audio.
        model_file: the model that training will start from, or its experiment's folder.
        output_dir: where pairs.train, shape.train and reference.json go, and pairs.valid and shape.valid.
        text_file: transcriptions, of a model that reads them; if none those of data_dir.
        missing_text: see `read_transcripts`.
        clues_file: clues, of a model that reads them.
        held_out: share of the utterances with pairs that is kept for validation.
        seed: of the draw of these.
        batch_size: utterances, and pairs, that are computed together.
        device: cpu, cuda or cuda:N.
        dtype: of the decoder's weights; as config.yaml has it if none.
    """

    pairs: tuple[str, ...]
    data_dir: str
    model_file: str
    output_dir: str
    text_file: str | None = None
    missing_text: str = "error"
    clues_file: str | None = None
    held_out: float = 0.0
    seed: int = 0
    batch_size: int = 16
    device: str = "cpu"
    dtype: str | None = None
    job: int = 1
    nj: int = 1

    @cached_property
    def model(self) -> Path:
        """The model file."""
        config, file = find_model(self.model_file)
        if config != file.parent / "config.yaml" or not config.is_file():
            raise SecError(f"{config}: does not exist; it belongs to {file}")
        return file

    @cached_property
    def config(self) -> dict:
        """config.yaml beside the model."""
        return read_yaml(self.model.parent / "config.yaml")

    @cached_property
    def utterances(self) -> Utterances:
        """The reader of the data directory."""
        return Utterances(self.data_dir)

    @cached_property
    def pairs_of(self) -> dict[str, list[Pair]]:
        """Pairs by utterance, sorted by id.

        Raises:
            SecError: pairs that cannot be read, or of utterances that the data directory lacks.
        """
        expected = Expected(ids=set(self.utterances.ids), known_from=str(scp_of(self.data_dir)))
        found: dict[str, list[Pair]] = {}
        for path in self.pairs:
            for pair in read_pairs(path, expected):
                found.setdefault(pair.id, []).append(pair)
        return {utt: found[utt] for utt in sorted(found)}

    @cached_property
    def texts(self) -> dict[str, tuple[str | None, dict[str, str]]]:
        """What the model reads beside the speech, as data of a training: name -> its file, id -> line.

        Raises:
            SecError: no such file, or utterances that it lacks.
        """
        ids, found = list(self.pairs_of), {}
        if reads_text(self.condition):
            there = Path(self.data_dir) / "text"
            path = self.text_file or (str(there) if there.is_file() else None)
            found["text"] = path, read_transcripts(path, ids, self.missing_text, f"set {self.data_dir}")
        if CLUES in self.condition:
            if self.clues_file is None:
                raise SecError(
                    f"{self.model}: reads clues (model_conf condition); give --clues_file, as sec_clues makes it"
                )
            read_clues(self.clues_file)
            lines = read_kaldi(self.clues_file)
            if absent := [utt for utt in ids if utt not in lines]:
                raise SecError(f"{self.clues_file}: has no line for {few(absent)}; make it for these utterances too")
            found["clues"] = self.clues_file, {utt: lines[utt] for utt in ids}
        return found

    @cached_property
    def record(self) -> dict:
        """What the log-probabilities are made from, by content."""
        dtype = self.dtype or (self.config.get("decoder_conf") or {}).get("dtype", "float32")
        data = reference.of_data(self.files, self.pairs_of)
        chosen = {"pairs": reference.of_pairs(list(self.pairs)), "held_out": self.held_out, "seed": self.seed}
        return reference.of_model(self.model, self.config) | chosen | data | {"dtype": dtype}

    @cached_property
    def files(self) -> dict[str, str]:
        """What the model reads of the utterances: name -> file."""
        speech = {"speech": str(scp_of(self.data_dir))} if QUERIES in self.condition else {}
        return speech | {name: str(path) for name, (path, _) in self.texts.items() if path}

    @cached_property
    def condition(self) -> tuple[str, ...]:
        """What the model reads of an utterance."""
        return condition_of(self.config.get("model_conf"))

    def header(self) -> dict:
        """The same for the journals, with what batches depend on."""
        return {**self.record, "batch_size": self.batch_size, "missing_text": self.missing_text}

    def is_done(self) -> bool:
        """Whether the output folder has all of this.

        Raises:
            SecError: it holds log-probabilities of another model, other pairs, ...; says which.
        """
        there = reference.read(self.output_dir)
        if there is None:
            return False
        found = reference.differing(there["made_from"], self.record)
        if found:
            raise SecError(
                f"{self.output_dir}: holds reference log-probabilities made from {' and '.join(found)}"
                f" ({there['made_from'].get('model_file')}); give another --output_dir, or remove this one"
            )
        files = there["files"].items()
        changed = [name for name, digest in files if not _is_file_of(Path(self.output_dir) / name, digest)]
        if changed:
            raise SecError(f"{self.output_dir}/{changed[0]}: has been changed since; remove the folder and run again")
        return True


def _is_file_of(path: Path, digest: str) -> bool:
    return path.is_file() and file_digest(path) == digest


class Scorer:
    """A captioning model that tells log-probabilities of pairs.

    Args:
        job: which model it is.

    Raises:
        SecError: no such model or device, one that writes no captions, data that do not fit it.
    """

    def __init__(self, job: Job):
        self.model, args = SECTask.build_model_from_file(None, job.model, job.device, job.dtype)
        if not isinstance(self.model, CaptionModel):
            raise SecError(f"{job.model}: --model {args.model} writes no captions; give a model of the second stage")
        if self.model.hears:
            check_input(job.data_dir, job.utterances, self.model.encoder, args.front_end)
        args.model_conf = {**args.model_conf, "clues_dropout": 0.0}  # the reference draws nothing
        self.preprocess = SECTask.build_preprocess_fn(args, False)
        self.collate = SECTask.build_collate_fn(args, False)
        self.encoder = SECTask.pair_encoder(args)
        self.device, self.rows = job.device, job.batch_size

    @torch.no_grad()
    def __call__(self, batch: Sequence[tuple[str, dict]], pairs: Mapping[str, Sequence[Pair]]) -> dict[str, list[dict]]:
        """Pairs of utterances (id, data as the preprocessor takes it) -> rows of ReferencePair.

        Each utterance goes through encoder and bridge once, and up to `batch_size` pairs through the decoder together.
        """
        items = [(utt, self.preprocess(utt, data)) for utt, data in batch]
        whole = {name: value.to(self.device) for name, value in self.collate(items)[1].items()}
        embedding = self.model.embeddings(whole)
        rows = [(at, pair) for at, (utt, _) in enumerate(batch) for pair in pairs[utt]]
        found: dict[str, list[dict]] = {utt: [] for utt, _ in batch}
        for start in range(0, len(rows), self.rows):
            some = rows[start : start + self.rows]
            at = torch.tensor([row for row, _ in some], device=self.device)
            ids = {name: [self._ids(pair, name) for _, pair in some] for name in ("instruction", "chosen", "rejected")}
            part = {name: value[at] for name, value in whole.items() if name != "speech"} | padded_ids(ids, self.device)
            own = {role: [one[at] for one in both] for role, both in embedding.items()}
            values = {name: sequence_log_probs(self.model, own, part, name) for name in ("chosen", "rejected")}
            for number, (_, pair) in enumerate(some):
                row = {name: getattr(pair, name) for name in ("prompt", "chosen", "rejected")}
                row |= {f"{name}_reference": round(one[number].item(), 6) for name, one in values.items()}
                row |= {f"{name}_tokens": len(ids[name][number]) for name in values}
                found[pair.id].append(row | {name: getattr(pair, name) for name in ("type", "source", "margin")})
        return found

    def _ids(self, pair: Pair, name: str) -> list[int]:
        if name == "instruction":
            return self.encoder.instruction(pair.prompt)
        return self.encoder.caption(getattr(pair, name))


def run_job(job: Job) -> None:
    """Compute the log-probabilities of one job's share, or nothing where all are there.

    Batches are those of all pairs: the numbers depend neither on the number of jobs nor on whether one was killed.

    Raises:
        SecError: data, pairs or a model that do not fit each other; an output folder made from something else.
    """
    if job.is_done():
        print(f"{job.output_dir}: all of it is there already", file=sys.stderr)
        return
    ids = list(job.pairs_of)
    batches = dict(enumerate(job.utterances.batches(ids, job.batch_size)))
    loads = {number: sum(len(job.pairs_of[utt]) for utt in batch) for number, batch in batches.items()}
    numbers = share(loads, job.nj, job.job)
    journal = Journal(job.output_dir, JOURNAL, job.job, job.nj, job.header(), numbers)
    todo = journal.todo
    print(
        f"job {job.job} of {job.nj}: {len(numbers)} batches, {len(numbers) - len(todo)} of them there", file=sys.stderr
    )
    if not todo:
        return
    scorer = Scorer(job)

    def data_of(utt: str) -> dict:
        speech = job.utterances.read(utt) if scorer.model.hears else np.zeros(1, dtype=np.float32)
        return {"speech": speech} | {name: lines[utt] for name, (_, lines) in job.texts.items()}

    def read(number: int) -> list[tuple[str, dict]]:
        return [(utt, data_of(utt)) for utt in batches[number]]

    for number, batch in progress(ahead(read, todo), total=len(todo), desc="reference log-probabilities"):
        journal.add(number, scorer(batch, job.pairs_of))


def combine(job: Job) -> dict[str, int]:
    """Join the jobs' work; returns the number of utterances and pairs of the splits, as "train utterances" and so on.

    Raises:
        SecError: a job has not finished, the jobs did not do the same, or an output folder made from something else.
    """
    folder = Path(job.output_dir)
    if not job.is_done():
        _, jobs = gather(folder, JOURNAL, job.nj, STAGE, job.header())
        found = {utt: rows for batches in jobs.values() for batch in batches.values() for utt, rows in batch.items()}
        held_out = draw_held_out(sorted(found), job.held_out, job.seed)
        width = "" if job.utterances.raw else f",{job.utterances.read(job.utterances.ids[0]).shape[1]}"
        files, splits = {}, {}
        for split in SPLITS:
            ids = [utt for utt in sorted(found) if (utt in held_out) == (split == "valid")]
            paths = [make_dir(folder) / f"{name}.{split}" for name in ("pairs", "shape")]
            if not ids:
                for path in paths:
                    path.unlink(missing_ok=True)
                continue
            write_reference_pairs(paths[0], {utt: [ReferencePair(**row) for row in found[utt]] for utt in ids})
            write_kaldi(paths[1], {utt: f"{job.utterances.lengths[utt]}{width}" for utt in ids})
            files |= {path.name: file_digest(path) for path in paths}
            splits[split] = reference.of_data(job.files, ids)
        reference.write(folder, {"made_from": job.record, "splits": splits, "files": files})
        shutil.rmtree(folder / ".jobs")
    counts = {}
    for split in SPLITS:
        if (folder / f"pairs.{split}").is_file():
            pairs = read_reference_pairs(folder / f"pairs.{split}")
            counts |= {f"{split} utterances": len(pairs), f"{split} pairs": sum(map(len, pairs.values()))}
    return counts


def draw_held_out(ids: Sequence[str], held_out: float, seed: int) -> set[str]:
    """The utterances that are held out, about this share of them; at least one, and not all.

    Raises:
        SecError: too few utterances for both.
    """
    if not held_out:
        return set()
    if len(ids) < 2:
        raise SecError(f"--held_out {held_out:g}: {len(ids)} utterance(s) have pairs; give more, or --held_out 0")
    count = min(max(round(held_out * len(ids)), 1), len(ids) - 1)
    return set(random.Random(f"held_out-{seed}").sample(sorted(ids), count))

"""Decoding of one job's share of a set."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from espnet2_secap import __version__
from espnet2_secap.data.io import read_yaml
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.decoder.options import DecodingOptions, SetOptions
from espnet2_secap.inference.agreement import Agreement, read_agreement, words_digest
from espnet2_secap.inference.consensus import consensus, consensus_of
from espnet2_secap.inference.neighbours import NearWeights
from espnet2_secap.inference.outputs import NAME
from espnet2_secap.inference.posterior import (
    CandidateSet,
    candidates_file,
    chosen_by_probability,
    chosen_from_set,
)
from espnet2_secap.inference.prior import TrainingSpeech, log_prior
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.process.jobs import Journal, file_digest, fingerprint, share, stamps
from espnet2_secap.progress import progress
from espnet2_secap.tasks.experiment import located, named_files
from espnet2_secap.tasks.front_end import check_input
from espnet2_secap.text.sentence import SentenceEncoder, cosine


@dataclass(frozen=True)
class Job:
    """One job of `nj` (from 1) that decodes a set.

    Args:
        model_file, train_config: see Speech2Caption.
        data_dir: dump/<tag>/<set>, or dump/raw/<set> for a model that reads audio.
        output_dir: where its journal goes.
    """

    model_file: str
    train_config: str | None
    data_dir: str
    output_dir: str
    job: int = 1
    nj: int = 1

    @property
    def config_file(self) -> Path:
        """The model's config.yaml."""
        return Path(self.train_config or Path(self.model_file).parent / "config.yaml")

    @cached_property
    def config(self) -> dict:
        """Its content, read once; {} where there is none."""
        return read_yaml(self.config_file) if self.config_file.is_file() else {}


def decode_set(job: Job, options: SetOptions) -> None:
    """Decode the batches of one job.

    Batches are the whole set's, and each has a seed of its own: what is sampled depends neither on the number of jobs
    nor on whether a job was interrupted. Batches that an interrupted run has left are kept.

    Raises:
        SecError: no such job; data, model or options that do not fit each other.
    """
    utterances = Utterances(job.data_dir)
    batches = dict(enumerate(utterances.batches(utterances.ids, options.batch_size)))
    loads = {number: sum(utterances.lengths[utt] for utt in batch) for number, batch in batches.items()}
    numbers = share(loads, job.nj, job.job)
    agreement, training = read_agreement(options), training_speech(job, options)
    header = {"fingerprint": made_from(job, options, utterances, training)} | record(job, options)
    journal = Journal(job.output_dir, NAME, job.job, job.nj, header, numbers)
    todo = [number for number in numbers if number not in journal.done]
    print(
        f"job {job.job} of {job.nj}: {len(numbers)} batches of up to {options.batch_size} utterances, "
        f"{len(journal.done)} of them there already",
        file=sys.stderr,
    )
    if not todo:
        return
    speech2caption = Speech2Caption(
        job.model_file,
        job.train_config,
        device=options.device,
        dtype=options.dtype,
        prompt=options.prompt,
        options=options,
    )
    check_input(job.data_dir, utterances, speech2caption.model.encoder, speech2caption.train_args.front_end)
    if options.beams:
        speech2caption.model.decoder.check_options(_beams_of(options))
    sentences = SentenceEncoder(options.similarity_model, options.device) if options.similarity_model else None
    candidates, near = None, None
    if options.candidates:
        captions = candidates_file(options.candidates, job.config_file)
        candidates = CandidateSet(captions, speech2caption, agreement)
        if of_prior := training.get("posterior_prior"):
            candidates.log_prior = log_prior(speech2caption, of_prior, candidates.ids, options.batch_size)
        if whole := training.get("posterior_neighbours"):
            near = NearWeights(captions, candidates.texts, whole, speech2caption, options.batch_size, options.device)
    reading = ahead(lambda number: [utterances.read(utt) for utt in batches[number]], todo)
    for number, speech in progress(reading, total=len(todo), desc=f"decoding, {options.batch_size} utterances a step"):
        torch.manual_seed(random.Random(f"{options.seed} {number}").getrandbits(32))
        found = decode_batch(speech2caption, speech, options, candidates, near, sentences, agreement)
        rows = zip(batches[number], found, strict=True)
        journal.add(number, [{"id": utt, "prompt": speech2caption.prompt} | candidates for utt, candidates in rows])


def decode_batch(
    speech2caption: Speech2Caption,
    speech: Sequence[np.ndarray],
    options: SetOptions,
    candidates: CandidateSet | None = None,
    near: NearWeights | None = None,
    sentences: SentenceEncoder | None = None,
    agreement: Agreement | None = None,
) -> list[dict]:
    """What candidates.jsonl says of each utterance: its candidates, best first, and how many go into `captions`.

    Args:
        speech: what the model itself takes, see Speech2Caption.caption_inputs.
        candidates: of --candidates.
        near: of --posterior_neighbours.
        sentences: the similarity model.
        agreement: of --agreement.
    """
    segments, ways = speech2caption.segments(speech), []
    if candidates is None or options.sampling:
        ways.append(speech2caption.generate(segments))
    if options.beams:
        ways.append(speech2caption.generate(segments, _beams_of(options)))
    found = [sum(own, []) for own in zip(*ways, strict=True)]
    if candidates is not None:
        return chosen_from_set(speech2caption, segments, candidates, found, options, near and near(speech))
    if options.by_probability:
        return chosen_by_probability(speech2caption, segments, found, options, agreement)
    return ranked(found, options.keep, sentences, agreement)


def _beams_of(options: SetOptions) -> DecodingOptions:
    """Plain beam search for --beams, with the lengths and penalties of the other candidates."""
    given = {field.name: getattr(options, field.name) for field in fields(DecodingOptions)}
    return DecodingOptions(**given | {"sampling": False, "beam_size": options.beams, "num_candidates": options.beams})


def ahead(read: Callable, keys: Sequence) -> Iterator[tuple]:
    """Pairs (key, read(key)); the next one is read in a thread while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(read, keys[0])
        for at, key in enumerate(keys):
            ready = coming.result()
            if at + 1 < len(keys):
                coming = pool.submit(read, keys[at + 1])
            yield key, ready


def record(job: Job, options: SetOptions) -> dict:
    """What decides on the captions beside data and weights: the header of candidates.jsonl.

    All options, ids that end a caption, dtype of the decoder as configured, and versions; an LM's own generation_config
    has no say.
    """
    return {
        "model": "/".join(Path(job.model_file).parts[-2:]),
        **_values_of(options),
        "dtype": options.dtype or (job.config.get("decoder_conf") or {}).get("dtype", "float32"),
        "ends": (job.config.get("template_conf") or {}).get("ends"),
        "versions": {name: version(name) for name in ("transformers", "torch")} | {"espnet2_secap": __version__},
    }


def _values_of(options: SetOptions) -> dict:
    return asdict(options) | {"device": options.device.split(":")[0]}


def training_speech(job: Job, options: SetOptions) -> dict[str, TrainingSpeech]:
    """The training utterances of --posterior_prior and --posterior_neighbours, as far as these are given.

    Raises:
        SecError: there are none, or too few.
    """
    numbers = {"posterior_prior": options.posterior_prior, "posterior_neighbours": None}
    given = {name: number for name, number in numbers.items() if getattr(options, name)}
    return {
        name: TrainingSpeech(f"--{name} {getattr(options, name)}", number, job.config_file)
        for name, number in given.items()
    }


def made_from(job: Job, options: SetOptions, utterances: Utterances, training: Mapping[str, TrainingSpeech]) -> str:
    """A fingerprint of all that the captions depend on, but for the number of jobs."""
    config = located(job.config, job.config_file.parent) if job.config else {}
    # Pretrained parts, statistics and prompts are named there, and may have been made anew in their places.
    sounds = {path if utterances.raw else path.rsplit(":", 1)[0] for path in utterances.paths.values()}
    files = [options.similarity_model or "", *named_files(config), *sorted(sounds)]
    model = file_digest(job.model_file) if Path(job.model_file).is_file() else None  # whoever reads it says so
    candidates = file_digest(candidates_file(options.candidates, job.config_file)) if options.candidates else None
    content = [_values_of(options), config, model, stamps(files), utterances.paths, utterances.lengths, candidates]
    speech = {name: some.made_from() for name, some in training.items()}
    return fingerprint([*content, words_digest(options), speech])


def ranked(
    batch: list[list[tuple[str, float]]],
    keep: int,
    sentences: SentenceEncoder | None,
    agreement: Agreement | None = None,
) -> list[dict]:
    """What candidates.jsonl says of each utterance's candidates, best first, and how many go into `captions`."""
    vectors = [None] * len(batch)
    if sentences is not None and keep:  # all candidates of a batch go through the similarity model together
        embeddings = sentences([text for candidates in batch for text, _ in candidates])
        vectors = embeddings.split([len(candidates) for candidates in batch])
    return [_in_order(candidates, keep, own, agreement) for candidates, own in zip(batch, vectors, strict=True)]


def _in_order(
    candidates: list[tuple[str, float]], keep: int, vectors: torch.Tensor | None, agreement: Agreement | None
) -> dict:
    rows = [{"text": text, "score": round(score, 6)} for text, score in candidates]
    if not keep:
        return {"candidates": rows, "kept": len(rows)}
    texts = [text for text, _ in candidates]
    if vectors is None:
        order, means = consensus(texts, agreement)
    else:
        order, means = consensus_of(cosine(vectors, vectors).numpy(), texts, agreement)
    return {"candidates": [rows[i] | {"similarity": round(means[i], 6)} for i in order], "kept": keep}

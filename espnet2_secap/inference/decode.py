"""Decoding of one job's share of a set."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch

from espnet2_secap import __version__
from espnet2_secap.data.io import read_yaml
from espnet2_secap.data.transcripts import read_transcripts
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.decoder.options import SetOptions
from espnet2_secap.inference.clues import Asked, CluePlan
from espnet2_secap.inference.outputs import NAME, SHUFFLED, keeps_own, other_audio
from espnet2_secap.inference.search import Search, Sources
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.process.jobs import Journal, file_digest, fingerprint, share, stamps
from espnet2_secap.progress import progress
from espnet2_secap.tasks.experiment import located, named_files
from espnet2_secap.tasks.front_end import check_input
from espnet2_secap.text.roles import DEFAULT, QUERIES, condition_of, reads_text


@dataclass(frozen=True)
class Job:
    """One job of `nj` (from 1) that decodes a set.

    Args:
        model_file, train_config: see Speech2Caption.
        data_dir: dump/<tag>/<set>, or dump/raw/<set> for a model that reads audio.
        output_dir: where its journal goes.
        text_file: transcriptions, of a model that reads them; if none those of data_dir.
        missing_text: see `read_transcripts`.
        shuffled: decode each utterance once more from another's audio, where that is not another's caption alone: the
            model hears, and besides it reads the transcription, or clues of a file or of references, which stay the
            utterance's own.
        references: captions of the set by people, for --clues; if none those of data_dir, where it has some.
    """

    model_file: str
    train_config: str | None
    data_dir: str
    output_dir: str
    job: int = 1
    nj: int = 1
    text_file: str | None = None
    missing_text: str = "error"
    shuffled: bool = False
    references: str | None = None

    @property
    def config_file(self) -> Path:
        """The model's config.yaml."""
        return Path(self.train_config or Path(self.model_file).parent / "config.yaml")

    @cached_property
    def config(self) -> dict:
        """Its content, read once; {} where there is none."""
        return read_yaml(self.config_file) if self.config_file.is_file() else {}

    @cached_property
    def condition(self) -> tuple[str, ...]:
        """What the model reads of an utterance."""
        return condition_of(self.config.get("model_conf"))

    def shuffles(self, options: SetOptions) -> bool:
        """Whether each utterance is decoded once more, from another's audio."""
        return self.shuffled and QUERIES in self.condition and keeps_own(self.condition, options.clues)

    def texts(self, ids: Sequence[str]) -> dict[str, str] | None:
        """The transcriptions; None of a model that reads none."""
        if not reads_text(self.condition):
            return None
        there = Path(self.data_dir) / "text"
        path = self.text_file or (there if there.is_file() else None)
        return read_transcripts(path, ids, self.missing_text, f"set {self.data_dir}")

    def clues(self, ids: Sequence[str], options: SetOptions) -> CluePlan:
        """Where the clues come from."""
        there = Path(self.data_dir) / "captions"
        return CluePlan(options, self.config_file, ids, self.references or (there if there.is_file() else None))


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
    texts, sources = job.texts(utterances.ids), Sources(options, job.config_file)
    plan = job.clues(utterances.ids, options)
    header = {"fingerprint": made_from(job, options, utterances, sources, texts, plan)} | record(job, options)
    journal = Journal(job.output_dir, NAME, job.job, job.nj, header, numbers)
    todo = journal.todo
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
    if speech2caption.hears:
        check_input(job.data_dir, utterances, speech2caption.model.encoder, speech2caption.train_args.front_end)
    search = Search(speech2caption, options, sources)
    others = other_audio(utterances.ids, options.seed) if job.shuffles(options) else {}
    source = plan.source(speech2caption, options.batch_size)

    def read(number: int) -> list[list]:
        """The speech of a batch, and where it is shuffled that of the others."""
        batch = batches[number]
        ways = [batch, [others[utt] for utt in batch]] if others else [batch]
        return [[utterances.read(utt) if speech2caption.hears else None for utt in way] for way in ways]

    reading = ahead(read, todo)
    for number, ways in progress(reading, total=len(todo), desc=f"decoding, {options.batch_size} utterances a step"):
        batch = batches[number]
        said, found = texts and [texts[utt] for utt in batch], []
        for speech, heard in zip(ways, (batch, [others.get(utt) for utt in batch]), strict=False):
            torch.manual_seed(random.Random(f"{options.seed} {number}").getrandbits(32))
            clues = source and Asked(source, batch, heard)
            found.append(search(speech, said, clues))
            for row, read in zip(found[-1], clues.read if clues else (), strict=bool(clues)):
                row["clues"] = read
        rows = [{"id": utt, "prompt": speech2caption.prompt} | own for utt, own in zip(batch, found[0], strict=True)]
        for row, other in zip(rows, found[1] if others else (), strict=bool(others)):
            row[SHUFFLED] = other
        journal.add(number, rows)


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
    condition = {} if job.condition == DEFAULT else {"condition": list(job.condition)}
    return condition | {
        "model": "/".join(Path(job.model_file).parts[-2:]),
        **_values_of(options),
        "dtype": options.dtype or (job.config.get("decoder_conf") or {}).get("dtype", "float32"),
        "ends": (job.config.get("template_conf") or {}).get("ends"),
        "versions": {name: version(name) for name in ("transformers", "torch")} | {"espnet2_secap": __version__},
    }


def _values_of(options: SetOptions) -> dict:
    return asdict(options) | {"device": options.device.split(":")[0], "judge_cache": None}


def made_from(
    job: Job,
    options: SetOptions,
    utterances: Utterances,
    sources: Sources,
    texts: dict[str, str] | None,
    plan: CluePlan,
) -> str:
    """A fingerprint of all that the captions depend on, but for the number of jobs."""
    config = located(job.config, job.config_file.parent) if job.config else {}
    # Pretrained parts, statistics and prompts are named there, and may have been made anew in their places.
    sounds = {path if utterances.raw else path.rsplit(":", 1)[0] for path in utterances.paths.values()}
    files = [
        options.similarity_model or "",
        options.judge or "",
        options.judge_prompt or "",
        *named_files(config),
        *sorted(sounds),
    ]
    model = file_digest(job.model_file) if Path(job.model_file).is_file() else None  # whoever reads it says so
    content = [_values_of(options), config, model, stamps(files), utterances.paths, utterances.lengths]
    shuffles = job.shuffles(options)
    read = [] if texts is None else [texts, shuffles]
    read += [*plan.made_from(), shuffles] if plan.name else []
    return fingerprint([*content, *sources.made_from(), *read])

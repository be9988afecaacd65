"""Decoding of one job's share of a set."""

import argparse
import random
import sys
from pathlib import Path

import torch

from espnet2_secap.data.io import read_yaml
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.inference.consensus import consensus, consensus_of
from espnet2_secap.inference.outputs import NAME
from espnet2_secap.inference.speech2caption import DECODING, Speech2Caption
from espnet2_secap.process.jobs import Journal, fingerprint, share, stamps
from espnet2_secap.progress import progress
from espnet2_secap.text.sentence import SentenceEncoder, cosine


def decode_set(args: argparse.Namespace) -> None:
    """Decode the batches of job `args.job` of `args.nj`; the options are those of sec_inference.

    Batches are the whole set's, and each has a seed of its own: what is sampled depends neither on the number of jobs
    nor on whether a job was interrupted. Batches that an interrupted run has left are kept.
    """
    utterances = Utterances(args.data_dir)
    if not 0 <= args.keep <= args.num_candidates:
        raise SecError(f"--keep {args.keep}: must be from 0 to --num_candidates {args.num_candidates}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SecError(f"--device {args.device}: no CUDA device here; use --device cpu")
    batches = dict(enumerate(utterances.batches(utterances.ids, args.batch_size)))
    loads = {number: sum(utterances.lengths[utt] for utt in batch) for number, batch in batches.items()}
    numbers = share(loads, args.nj, args.job)
    header = {"fingerprint": made_from(args, utterances), "seed": args.seed}
    journal = Journal(args.output_dir, NAME, args.job, args.nj, header, numbers)
    todo = [number for number in numbers if number not in journal.done]
    print(
        f"job {args.job} of {args.nj}: {len(numbers)} batches of up to {args.batch_size} utterances, "
        f"{len(journal.done)} of them there already",
        file=sys.stderr,
    )
    if not todo:
        return
    speech2caption = Speech2Caption(
        args.sec_model_file,
        args.sec_train_config,
        device=args.device,
        dtype=args.dtype,
        prompt=args.prompt,
        **{name: getattr(args, name) for name in DECODING},
    )
    if utterances.raw != (speech2caption.train_args.encoder != "feats"):
        kind = "dump/raw/<set>" if utterances.raw else "dumped features"
        raise SecError(
            f"--data_dir {args.data_dir}: {kind}, but the model has encoder {speech2caption.train_args.encoder}"
        )
    sentences = SentenceEncoder(args.similarity_model, args.device) if args.similarity_model else None
    for number in progress(todo, desc=f"decoding, {args.batch_size} utterances a step"):
        torch.manual_seed(random.Random(f"{args.seed} {number}").getrandbits(32))
        found = speech2caption([utterances.read(utt) for utt in batches[number]])
        rows = zip(batches[number], ranked(found, args.keep, sentences), strict=True)
        journal.add(number, [{"id": utt, "prompt": speech2caption.prompt} | candidates for utt, candidates in rows])


def made_from(args: argparse.Namespace, utterances: Utterances) -> str:
    """A fingerprint of all that the captions depend on, but for the number of jobs."""
    names = (*DECODING, "batch_size", "keep", "similarity_model", "dtype", "prompt", "seed")
    options = {name: getattr(args, name) for name in names} | {"device": args.device.split(":")[0]}
    config_file = Path(args.sec_train_config or Path(args.sec_model_file).parent / "config.yaml")
    config = read_yaml(config_file) if config_file.is_file() else {}
    # Frozen parts, statistics and prompts are named there, and may have been made anew in their places.
    named = [value for conf in (config, *config.values()) if isinstance(conf, dict) for value in _paths(conf)]
    sounds = {path if utterances.raw else path.rsplit(":", 1)[0] for path in utterances.paths.values()}
    files = [args.sec_model_file, args.similarity_model or "", *named, *sorted(sounds)]
    content = [options, config, stamps(files), utterances.paths, utterances.lengths]
    return fingerprint(content)


def _paths(conf: dict) -> list[str]:
    return [value for key, value in conf.items() if key in ("path", "prompts", "stats_file") and isinstance(value, str)]


def ranked(batch: list[list[tuple[str, float]]], keep: int, sentences: SentenceEncoder | None) -> list[dict]:
    """What candidates.jsonl says of each utterance's candidates, best first, and how many go into `captions`."""
    vectors = [None] * len(batch)
    if sentences is not None and keep:  # all candidates of a batch go through the similarity model together
        embeddings = sentences([text for candidates in batch for text, _ in candidates])
        vectors = embeddings.split([len(candidates) for candidates in batch])
    return [_in_order(candidates, keep, own) for candidates, own in zip(batch, vectors, strict=True)]


def _in_order(candidates: list[tuple[str, float]], keep: int, vectors: torch.Tensor | None) -> dict:
    rows = [{"text": text, "score": round(score, 6)} for text, score in candidates]
    if not keep:
        return {"candidates": rows, "kept": len(rows)}
    if vectors is None:
        order, means = consensus([text for text, _ in candidates])
    else:
        order, means = consensus_of(cosine(vectors, vectors).numpy())
    return {"candidates": [rows[i] | {"similarity": round(means[i], 6)} for i in order], "kept": keep}

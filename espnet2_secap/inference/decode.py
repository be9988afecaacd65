"""Decoding of one job's share of a set."""

import argparse

import torch

from espnet2_secap.data.io import part_of
from espnet2_secap.errors import SecError
from espnet2_secap.inference.outputs import other_audio, write_job
from espnet2_secap.inference.reading import Utterances
from espnet2_secap.inference.rerank import consensus, consensus_of
from espnet2_secap.inference.speech2caption import DECODING, Speech2Caption
from espnet2_secap.progress import progress
from espnet2_secap.text.sentence import SentenceEncoder, cosine


def decode_set(args: argparse.Namespace) -> None:
    """Decode slice `args.job` of `args.nj`; the options are those of sec_inference."""
    utterances = Utterances(args.data_dir)
    if not 0 <= args.keep <= args.num_candidates:
        raise SecError(f"--keep {args.keep}: must be from 0 to --num_candidates {args.num_candidates}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SecError(f"--device {args.device}: no CUDA device here; use --device cpu")
    options = {name: getattr(args, name) for name in DECODING}
    speech2caption = Speech2Caption(
        args.sec_model_file,
        args.sec_train_config,
        device=args.device,
        dtype=args.dtype,
        prompt=args.prompt,
        **options,
    )
    if utterances.raw != (speech2caption.train_args.encoder != "feats"):
        kind = "dump/raw/<set>" if utterances.raw else "dumped features"
        raise SecError(
            f"--data_dir {args.data_dir}: {kind}, but the model has encoder {speech2caption.train_args.encoder}"
        )
    sentences = SentenceEncoder(args.similarity_model, args.device) if args.similarity_model else None
    ids = part_of(utterances.ids, args.nj, args.job)
    runs = [(args.output_dir, {utt: utt for utt in ids})]
    if args.shuffled_audio_dir:
        others = other_audio(utterances.ids, args.seed)
        runs.append((args.shuffled_audio_dir, {utt: others[utt] for utt in ids}))
    for folder, source in runs:
        torch.manual_seed(args.seed)
        rows = []
        batches = list(utterances.batches(list(source.values()), args.batch_size))
        owner = {audio: utt for utt, audio in source.items()}
        for batch in progress(batches, desc=f"decoding, {args.batch_size} utterances a step"):
            found = speech2caption([utterances.read(utt) for utt in batch])
            for audio, candidates in zip(batch, ranked(found, args.keep, sentences), strict=True):
                rows.append({"id": owner[audio], "audio": audio, "prompt": speech2caption.prompt} | candidates)
        write_job(folder, args.job, args.nj, sorted(rows, key=lambda row: row["id"]))


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

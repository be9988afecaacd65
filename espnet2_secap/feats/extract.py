"""Stage 3: compute the features of all utterances and store them in arks, by parallel jobs that can be resumed."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet2_secap.data.io import atomic_write, make_dir, write_json, write_kaldi
from espnet2_secap.errors import SecError, few
from espnet2_secap.feats.shards import Shard, Utt, loads
from espnet2_secap.process.jobs import OTHER, UNFINISHED, deal, run_again, share
from espnet2_secap.progress import progress

if TYPE_CHECKING:
    from espnet2_secap.encoder.abs_encoder import AbsEncoder

COMBINED = ("feats.scp", "utt2num_frames", "config.json")


def run_job(
    shards: Sequence[Shard],
    nj: int,
    job: int,
    batch_seconds: float,
    device: str,
    build: Callable[[], "AbsEncoder"],
    threads: int = 1,
) -> None:
    """Compute the shards of one job that are not finished yet.

    Args:
        shards: the plan, the same for all jobs.
        nj, job: this is job `job` (from 1) of `nj`.
        batch_seconds: utterances run together up to this much audio, padding included.
        device: "cpu", "cuda" or "cuda:N".
        build: makes the encoder of the shards' settings; called only where there is something to do.
        threads: CPU threads of this process.

    Raises:
        SecError: the encoder cannot be loaded, no such device, an utterance cannot be read or is too short,
            or its features are not finite. Finished shards are kept.
    """
    prints = {shard: shard.fingerprint() for shard in share(loads(shards), nj, job)}
    todo, other = [], 0
    for shard, fingerprint in prints.items():
        index = shard.load()
        if index is None or index.get("fingerprint") != fingerprint:
            todo.append(shard)
            other += index is not None
    say = f"job {job} of {nj}: {len(prints)} parts, {len(prints) - len(todo)} of them finished already"
    print(
        say + (f", {other} computed again: settings, model or audio have changed" if other else ""),
        file=sys.stderr,
    )
    if not todo:
        return
    encoder = _load(build, device, threads)
    rates = {shard.set_dir: shard.audio.stored_rate() for shard in todo}  # Hz, of dump/raw
    for shard in todo:
        shard.audio.resample_to(encoder.sampling_rate)
        least = ceil(encoder.min_samples * rates[shard.set_dir] / encoder.sampling_rate)
        for utt in shard.utts:
            if utt.samples < least:
                raise SecError(
                    f"{utt.path}: {utt.id}: {utt.samples} samples are too short, the encoder needs {least}; "
                    "leave it out with --min_wav_duration and run stage 2 again"
                )
    for set_dir in dict.fromkeys(shard.set_dir for shard in todo):
        make_dir(set_dir / "data")
        for name in COMBINED:  # they would point into arks that are about to be replaced
            (set_dir / name).unlink(missing_ok=True)
    utts = [utt for shard in todo for utt in shard.utts]
    start = time.monotonic()

    def work() -> Iterator[Utt]:
        for shard in todo:
            most = int(batch_seconds * rates[shard.set_dir])
            yield from write_shard(shard, prints[shard], encoder, most, device)

    for _ in progress(work(), total=len(utts), desc=f"features, job {job} of {nj}"):
        pass
    seconds, speech = (
        time.monotonic() - start,
        sum(sum(utt.samples for utt in shard.utts) / rates[shard.set_dir] for shard in todo),
    )
    print(
        f"job {job} of {nj}: {len(utts)} utterances, {speech:.0f} s of speech in {seconds:.1f} s "
        f"({len(utts) / seconds:.1f} per second, {seconds / speech:.4f} times real time)",
        file=sys.stderr,
    )


def _load(build: Callable[[], "AbsEncoder"], device: str, threads: int) -> "AbsEncoder":
    """Build the encoder on its device, in evaluation mode."""
    import torch

    torch.set_num_threads(threads)
    if device != "cpu":
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as err:
            raise SecError(f"--device {device}: not available here; use --device cpu") from err
    encoder = build()
    if encoder.sampling_rate is None:
        raise SecError("--encoder stored: reads features, stage 3 makes them; give an encoder that takes audio")
    if any(p.requires_grad for p in encoder.parameters()):
        raise SecError(
            "--encoder_conf: this encoder has something to train (such as layer weighted_sum), which stored features"
            " cannot hold; dump --layer all, and let encoder: stored mix the layers"
        )
    return encoder.to(device).eval()


def write_shard(shard: Shard, fingerprint: str, encoder: "AbsEncoder", max_samples: int, device: str) -> Iterator[Utt]:
    """Write one shard, first its ark, then its index, and yield each utterance when it is done."""
    import kaldiio

    for left in shard.ark.parent.glob(f"feats.{shard.number}.*.tmp.*"):  # of a job that was killed
        left.unlink(missing_ok=True)
    shard.index.unlink(missing_ok=True)
    places, remarks = {}, {}
    with atomic_write(shard.ark, "wb") as ark:
        for batch in make_batches(shard.utts, max_samples, encoder.padding_safe):
            wavs = [shard.audio.read(utt.id) for utt in batch]
            for utt, wav, feats in zip(batch, wavs, encode(wavs, encoder, device), strict=True):
                if remark := _remark(encoder, len(wav), feats):
                    remarks[utt.id] = remark
                feats = _checked(utt, feats, shard.settings.dtype)
                places[utt.id] = [ark.tell() + len(f"{utt.id} ".encode()), len(feats)]
                # Kaldi's matrices have no half precision: those are kept as NumPy arrays in the ark.
                half = feats.dtype == np.float16
                kaldiio.save_ark(ark, {utt.id: feats}, write_function="numpy" if half else None)
                yield utt
        size = ark.tell()
    settings = shard.settings
    index = {
        "fingerprint": fingerprint,
        "config": {
            "encoder": settings.encoder,
            "encoder_conf": settings.conf,
            "dtype": settings.dtype,
            "num_layers": encoder.num_layers,
            "dim": encoder.output_size() // encoder.num_layers,
            "frame_shift": encoder.frame_shift,
            "sampling_rate": encoder.sampling_rate,
        },
        "bytes": size,
        "remarks": remarks,
        "utts": {utt.id: places[utt.id] for utt in shard.utts},
    }
    with atomic_write(shard.index) as stream:
        json.dump(index, stream, ensure_ascii=False, indent=1)


def _remark(encoder: "AbsEncoder", samples: int, feats: np.ndarray) -> str | None:
    """What a user should know of an utterance of so many samples with these features, if anything."""
    cut = None
    if encoder.max_samples is not None and samples > encoder.max_samples:
        cut = f"more than the {encoder.max_samples / encoder.sampling_rate:g} s that this encoder reads, from the start"
    return "; ".join(filter(None, (encoder.remark(feats), cut))) or None


def make_batches(utts: Sequence[Utt], max_samples: int, padding_safe: bool) -> list[list[Utt]]:
    """Group utterances of similar length, longest first.

    A batch with its padding has at most `max_samples` samples (more only if a single utterance has); without
    `padding_safe` all in a batch are of one length.
    """
    batches: list[list[Utt]] = []
    for utt in sorted(utts, key=lambda utt: (-utt.samples, utt.id)):
        batch = batches[-1] if batches else None
        if (
            batch is None
            or (len(batch) + 1) * batch[0].samples > max_samples
            or (not padding_safe and utt.samples != batch[0].samples)
        ):
            batches.append([utt])
        else:
            batch.append(utt)
    return batches


def encode(wavs: Sequence, encoder: "AbsEncoder", device: str) -> list[np.ndarray]:
    """Features (T, L * D) in float32 of each waveform (samples,) of a batch, array or tensor."""
    import torch

    lengths = torch.tensor([len(wav) for wav in wavs], device=device)
    with torch.inference_mode():
        speech = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(wav) for wav in wavs], batch_first=True).to(device)
        feats, frames = encoder(speech, lengths)
    return [one[:n].numpy() for one, n in zip(feats.cpu(), frames.tolist(), strict=True)]


def _checked(utt: Utt, feats: np.ndarray, dtype: str) -> np.ndarray:
    """The features in the dtype they are stored in, all of them finite."""
    if not np.isfinite(feats).all():
        raise SecError(f"{utt.path}: {utt.id}: its features are not finite; check this audio and the upstream")
    with np.errstate(over="ignore"):
        stored = feats.astype(dtype)
    if not np.isfinite(stored).all():
        raise SecError(
            f"{utt.path}: {utt.id}: its features are too large for {dtype}; use --dtype float32"
            " (in a recipe: --feats_dtype float32)"
        )
    return np.ascontiguousarray(stored)


def combine(shards: Sequence[Shard], nj: int) -> None:
    """Merge what all jobs have made: feats.scp, utt2num_frames and config.json of each set.

    Raises:
        SecError: parts are missing or made from something else; then nothing is written.
    """
    indexes, problems = {shard: shard.load() for shard in shards}, {}
    job_of = {shard: job for job, mine in enumerate(deal(loads(shards), nj), 1) for shard in mine}
    for shard, index in indexes.items():
        if index is None:
            problems[job_of[shard]] = UNFINISHED
        elif index.get("fingerprint") != shard.fingerprint():
            problems.setdefault(job_of[shard], OTHER)
    if problems:
        raise run_again(shards[0].set_dir.parent, 3, nj, problems)
    for set_dir in dict.fromkeys(shard.set_dir for shard in shards):
        _combine_set(set_dir, {shard: index for shard, index in indexes.items() if shard.set_dir == set_dir})


def _combine_set(set_dir: Path, indexes: dict[Shard, dict]) -> None:
    configs = [index["config"] for index in indexes.values()]
    if any(config != configs[0] for config in configs):
        raise SecError(f"{set_dir}: parts come from different models; remove {set_dir}/data and run stage 3 again")
    scp, frames, remarks = {}, {}, {}
    for shard, index in indexes.items():
        for utt, remark in index.get("remarks", {}).items():
            remarks.setdefault(remark, []).append(utt)
        for utt, (offset, length) in index["utts"].items():
            scp[utt], frames[utt] = f"{shard.ark}:{offset}", length
    write_json(set_dir / "config.json", configs[0])
    write_kaldi(set_dir / "utt2num_frames", frames)
    write_kaldi(set_dir / "feats.scp", scp)
    wanted = {path for shard in indexes for path in (shard.ark, shard.index)}
    for path in (set_dir / "data").glob("feats.*"):  # of a longer list, or of a job that was killed
        if path not in wanted:
            path.unlink()
    size = sum(index["bytes"] for index in indexes.values())
    print(
        f"{set_dir}: {len(scp)} utterances, {sum(frames.values())} frames of {configs[0]['num_layers']} x "
        f"{configs[0]['dim']} values ({configs[0]['dtype']}), {size / 1e6:.1f} MB"
    )
    for remark, utts in sorted(remarks.items()):
        print(f"note: {set_dir}: {len(utts)} of {len(scp)} utterances ({few(sorted(utts))}) have {remark}")

#!/usr/bin/env python3
"""Pretrain a mini CLAP audio model, a small HTSAT, on the recordings and captions of a training set.

As in CLAP, recordings and captions are embedded so that those that belong together are nearer to each other than to
those of the rest of the batch. A caption is the mean of learned vectors of its characters; of the two sides only the
audio model is kept, with its projection, an ordinary transformers folder (ClapAudioModelWithProjection).
"""

import argparse
import dataclasses
import json
import random

import torch
from pretrain_common import begin_folder, finish_folder, is_made, parser_of, read_config, record_of, sounds_of
from pretrain_optimizer import Optimizer, count, start

from espnet2_secap.data.audio import read_audio
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.encoder.clap_front_end import ClapFrontEnd
from espnet2_secap.errors import cli
from espnet2_secap.progress import progress
from espnet2_secap.values import Count, Natural, Positive, Seed

SAMPLE_RATE = 16000
WINDOW = 5  # seconds that the model reads; longer recordings are cut, as HTSAT cuts at 10 s
HOP = 320  # samples: 251 frames, which the model's image of 2 x 128 frames holds
BANDS = 64


@dataclasses.dataclass(frozen=True)
class ClapConfig:
    """Sizes and training of the mini CLAP."""

    spec_size: Count = 128  # side of the image that the spectrogram is folded to
    patch_size: Count = 4
    window_size: Count = 4  # patches, of the attention
    patch_embeds_hidden_size: Count = 24
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    num_attention_heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    projection_dim: Count = 128
    steps: Natural = 300
    batch_size: Count = 32
    lr: Positive = 2.0e-3
    temperature: Positive = 0.1
    max_utterances: Count = 2000  # of a larger corpus, as many are drawn
    seed: Seed = 0
    threads: Count = 2  # each contrasts its part of the batch


def get_parser() -> argparse.ArgumentParser:
    return parser_of(__doc__, "clap", "wav.scp and captions")


def make_extractor():
    """The front-end, which the folder names."""
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(
        feature_size=BANDS,
        sampling_rate=SAMPLE_RATE,
        hop_length=HOP,
        max_length_s=WINDOW,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=SAMPLE_RATE // 2,
        truncation="rand_trunc",
        padding="pad",
    )


def spectrograms(paths: dict[str, str], front_end: ClapFrontEnd) -> torch.Tensor:
    """Log-mel spectrograms of the starts of recordings, (utterances, 1, frames, BANDS)."""
    made = []
    for path in progress(list(paths.values()), desc="spectrograms for the mini CLAP"):
        wave = torch.from_numpy(read_audio(path, SAMPLE_RATE)).float() / 32768
        made.append(front_end(front_end.windows(wave, 1)))
    return torch.stack(made)


def build(config: ClapConfig):
    """A CLAP audio model with random weights."""
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection

    width = config.patch_embeds_hidden_size
    return ClapAudioModelWithProjection(
        ClapAudioConfig(
            spec_size=config.spec_size,
            num_mel_bins=BANDS,
            patch_size=config.patch_size,
            patch_stride=[config.patch_size, config.patch_size],
            window_size=config.window_size,
            patch_embeds_hidden_size=width,
            hidden_size=width * 2 ** (len(config.depths) - 1),
            depths=list(config.depths),
            num_attention_heads=list(config.num_attention_heads),
            projection_dim=config.projection_dim,
            hidden_dropout_prob=0.0,
            initializer_factor=1.0,
        )
    )


def characters_of(captions: list[list[str]]) -> dict[str, int]:
    """Every character of the captions -> its number."""
    return {char: at for at, char in enumerate(sorted({char for some in captions for text in some for char in text}))}


def train(mels: torch.Tensor, captions: list[list[str]], config: ClapConfig, rng: random.Random):
    """Train a CLAP audio model from scratch; return it.

    Args:
        mels: spectrograms (utterances, 1, frames, BANDS).
        captions: those of each of these utterances.
    """
    model = build(config)
    known = characters_of(captions)
    texts = torch.nn.EmbeddingBag(len(known), config.projection_dim, mode="mean")
    print(f"mini CLAP: {count(model)}, {len(known)} characters", flush=True)
    with torch.no_grad():  # decibels have means and deviations far from 0 and 1, which would take long to learn
        norm = model.audio_model.audio_encoder.batch_norm
        norm.running_mean.copy_(mels.mean((0, 1, 2)))
        norm.running_var.copy_(mels.var((0, 1, 2)) + 1)
    norm.eval()
    parts = torch.nn.ModuleList([model, texts])
    optimizer = Optimizer(parts, config.lr, config.steps, threads=config.threads)

    def loss_of(some: torch.Tensor, bags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heard = model(input_features=some, is_longer=torch.zeros(len(some), 1, dtype=torch.bool)).audio_embeds
        weights = (bags > 0).float()
        said = (texts.weight[bags.clamp(min=1) - 1] * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        scores = torch.nn.functional.normalize(heard, dim=-1) @ torch.nn.functional.normalize(said, dim=-1).T
        target = torch.arange(len(some))
        both = [torch.nn.functional.cross_entropy(one / config.temperature, target) for one in (scores, scores.T)]
        loss = (both[0] + both[1]) / 2
        return loss, loss.detach()

    model.train()
    norm.eval()
    loss = torch.tensor(float("nan"))
    size = min(config.batch_size, len(captions))
    for _ in progress(range(config.steps), desc="training the mini CLAP"):
        chosen = rng.sample(range(len(captions)), size)
        drawn = [[known[char] + 1 for char in rng.choice(captions[at])] for at in chosen]  # 0: padding
        bags = torch.nn.utils.rnn.pad_sequence([torch.tensor(one or [1]) for one in drawn], batch_first=True)
        loss = optimizer.step(loss_of, (mels[chosen], bags))
    told = f"loss {loss.item():.3f} in the last step" if config.steps else "random weights"
    print(f"mini CLAP: {told}", flush=True)
    return model.eval()


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = read_config(args.config, "clap", ClapConfig(), args.seed)
    paths, captions = read_kaldi(args.train_set / "wav.scp"), read_captions(args.train_set / "captions")
    record = record_of(config, [json.dumps(captions, ensure_ascii=False), *sounds_of(paths)])
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same recordings; kept")
        return
    rng = start(config.seed)
    ids = sorted(paths.keys() & captions.keys())
    ids = sorted(rng.sample(ids, min(len(ids), config.max_utterances)))
    extractor = make_extractor()
    mels = spectrograms({utt: paths[utt] for utt in ids}, ClapFrontEnd(extractor, str(args.output)))
    model = train(mels, [captions[utt] for utt in ids], config, rng)
    beside = begin_folder(args.output)
    model.save_pretrained(beside)
    extractor.save_pretrained(beside)
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()

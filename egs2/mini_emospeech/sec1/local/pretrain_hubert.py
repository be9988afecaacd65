#!/usr/bin/env python3
"""Pretrain a mini HuBERT on the recordings of a training set, and on nothing else.

As in HuBERT, frames are clustered by k-means and the transformer predicts the cluster of each frame, of masked and of
unmasked frames alike, while spans of its input are masked. There are three clusterings: of log-mel energies, of
pitch and of tempo (local/pretrain_targets.py). The result is an ordinary transformers folder.
"""

import argparse
import dataclasses
import json
import random

import torch
from pretrain_common import begin_folder, finish_folder, is_made, parser_of, read_config, record_of, sounds_of
from pretrain_conv import KERNELS, STRIDES, extract_features, fourier_filters
from pretrain_optimizer import Optimizer, count, pool_of, start
from pretrain_targets import SAMPLE_RATE, SHIFT, WINDOW, assign, count_frames, kmeans, log_mel, pitch, tempo

from espnet2_secap.data.audio import BadAudio, read_audio
from espnet2_secap.data.io import read_kaldi
from espnet2_secap.errors import SecError, cli
from espnet2_secap.progress import progress
from espnet2_secap.values import Count, Positive, Seed, Share

BIAS = 0.1  # about what a filter gives for quiet speech


@dataclasses.dataclass(frozen=True)
class HubertConfig:
    """Sizes and training of the mini HuBERT."""

    conv_dim: tuple[int, int] = (512, 128)  # filters over a frame, and what is made of them
    hidden_size: Count = 192
    intermediate_size: Count = 640
    num_hidden_layers: Count = 4
    num_attention_heads: Count = 4
    num_conv_pos_embeddings: Count = 32
    num_conv_pos_embedding_groups: Count = 8
    clusters: tuple[int, int, int] = (64, 32, 32)  # of log-mel energies, of pitch, of tempo
    steps: Count = 620
    batch_seconds: Positive = 16.0
    crop_seconds: Positive = 2.4
    mask_share: Share = 0.3
    mask_frames: Count = 8
    target_weights: tuple[float, float, float] = (1.0, 1.5, 1.0)  # of these
    lr: Positive = 4.0e-3
    max_hours: Positive = 2.0  # of a larger corpus, as many utterances are drawn
    seed: Seed = 0
    threads: Count = 2


def get_parser() -> argparse.ArgumentParser:
    return parser_of(__doc__, "hubert", "wav.scp")


def read_waves(paths: dict[str, str], max_hours: float, rng: random.Random) -> list[torch.Tensor]:
    """Recordings (samples,) at 16 kHz as int16, up to `max_hours` of them; unusable ones are left out, with a note."""
    waves, bad, left = [], [], max_hours * 3600 * SAMPLE_RATE
    ids = sorted(paths)
    rng.shuffle(ids)
    for utt_id in progress(ids, desc="reading the training set"):
        try:
            wave = read_audio(paths[utt_id], SAMPLE_RATE)
        except BadAudio as err:
            bad.append(f"{utt_id}: {err}")
            continue
        if len(wave) >= WINDOW:
            waves.append(torch.from_numpy(wave))
            left -= len(wave)
        if left <= 0:
            break
    for line in bad[:10]:
        print(f"left out: {line}", flush=True)
    if not waves:
        raise SecError(f"no usable recording among {len(ids)} of the training set; see the reasons above")
    return waves


def as_float(wave: torch.Tensor) -> torch.Tensor:
    """int16 -> float32 between -1 and 1, the level as it is."""
    return wave.float() / 32768


def make_targets(
    waves: list[torch.Tensor], clusters: tuple[int, int, int], threads: int = 1
) -> tuple[list[torch.Tensor], list[int]]:
    """Clusters of every frame.

    Returns:
        per recording (T, 3); how many clusters each of the three clusterings has.
    """

    def features_of(wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mel = log_mel(as_float(wave))
        return mel, pitch(as_float(wave)), tempo(mel)

    with pool_of(threads) as pool:
        features = list(progress(pool.map(features_of, waves), len(waves), "features of the targets"))
    columns, sizes = [], []
    for kind, wanted in enumerate(clusters):
        every = torch.cat([one[kind] for one in features])
        sample = every[torch.randperm(len(every))[:20000]]
        centres = kmeans(sample, min(wanted, len(sample)))
        columns.append([assign(one[kind], centres) for one in features])
        sizes.append(len(centres))
    return [torch.stack(one, dim=1) for one in zip(*columns, strict=True)], sizes


class Batches:
    """Draws batches of recordings of similar length, all cropped to the shortest, so that nothing is padded."""

    def __init__(self, waves: list[torch.Tensor], targets: list[torch.Tensor], config: HubertConfig):
        self.config = config
        order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
        self.waves, self.targets = [waves[i] for i in order], [targets[i] for i in order]

    def draw(self, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples (B, S) and clusters (B, T, 3)."""
        first = rng.randrange(len(self.waves))
        crop = min(len(self.waves[first]), int(self.config.crop_seconds * SAMPLE_RATE))
        size = max(1, round(self.config.batch_seconds * SAMPLE_RATE / crop))
        pool = range(max(0, min(first, len(self.waves) - 2 * size)), len(self.waves))
        if crop < int(self.config.crop_seconds * SAMPLE_RATE):
            pool = pool[: 2 * size]  # neighbours in length
        chosen = rng.sample(pool, min(size, len(pool)))
        frames = min(count_frames(crop), *(len(self.targets[i]) for i in chosen))
        samples, clusters = [], []
        for i in chosen:
            at = rng.randint(0, len(self.targets[i]) - frames)
            samples.append(as_float(self.waves[i][at * SHIFT : (at + frames - 1) * SHIFT + WINDOW]))
            clusters.append(self.targets[i][at : at + frames])
        return torch.stack(samples), torch.stack(clusters)


def draw_mask(batch: int, frames: int, config: HubertConfig, rng: random.Random) -> torch.Tensor:
    """Spans to mask, (batch, frames): about `mask_share` of the frames where spans do not overlap."""
    mask = torch.zeros(batch, frames, dtype=torch.bool)
    for row in mask:
        for _ in range(max(1, round(config.mask_share * frames / config.mask_frames))):
            at = rng.randrange(max(1, frames - config.mask_frames + 1))
            row[at : at + config.mask_frames] = True
    return mask


def build(config: HubertConfig):
    """A HuBERT of the layer-norm kind (as chinese-hubert-large): padding cannot change its result."""
    import transformers

    model = transformers.HubertModel(
        transformers.HubertConfig(
            conv_dim=list(config.conv_dim),
            conv_kernel=list(KERNELS),
            conv_stride=list(STRIDES),
            conv_bias=True,
            feat_extract_norm="layer",
            feat_extract_activation="relu",  # half the time of gelu
            do_stable_layer_norm=True,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_conv_pos_embeddings=config.num_conv_pos_embeddings,
            num_conv_pos_embedding_groups=config.num_conv_pos_embedding_groups,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            final_dropout=0.0,
        )
    )
    with torch.no_grad():
        first = model.feature_extractor.conv_layers[0].conv
        first.weight.copy_(fourier_filters(config.conv_dim[0])[:, None])
        first.bias.uniform_(-BIAS, BIAS)  # beside it the layer norm hears how loud the speech is
    return model


def encode(model, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`model(samples, mask_time_indices=mask).last_hidden_state`, (B, T, D), faster: samples (B, S), mask (B, T)."""
    hidden = model.feature_projection(extract_features(model.feature_extractor, samples))
    hidden = torch.where(mask.unsqueeze(-1), model.masked_spec_embed, hidden)
    return model.encoder(hidden).last_hidden_state


def train(batches: Batches, sizes: list[int], config: HubertConfig, rng: random.Random):
    """Train a HuBERT from scratch; return it."""
    model = build(config)
    heads = torch.nn.Linear(config.hidden_size, sum(sizes))
    print(f"mini HuBERT: {count(model)}, {'+'.join(map(str, sizes))} clusters", flush=True)
    optimizer = Optimizer(torch.nn.ModuleList([model, heads]), config.lr, config.steps, threads=config.threads)
    model.train()

    def loss_of(samples: torch.Tensor, clusters: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = heads(encode(model, samples, mask)).split(sizes, dim=-1)
        each = torch.stack(
            [
                torch.nn.functional.cross_entropy(part.flatten(0, 1), clusters[..., kind].flatten())
                for kind, part in enumerate(parts)
            ]
        )
        return each @ torch.tensor(config.target_weights), each.detach()

    losses = torch.zeros(0)
    for _ in progress(range(config.steps), desc="training the mini HuBERT"):
        samples, clusters = batches.draw(rng)
        mask = draw_mask(*clusters.shape[:2], config, rng)
        losses = optimizer.step(loss_of, (samples, clusters, mask))
    shown = ", ".join(f"{loss:.2f}" for loss in losses)
    print(f"mini HuBERT: losses {shown} nats per frame in the last step (mel, pitch, tempo)", flush=True)
    return model.eval()


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = read_config(args.config, "hubert", HubertConfig(), args.seed)
    paths = read_kaldi(args.train_set / "wav.scp")
    record = record_of(config, sounds_of(paths))
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same recordings; kept")
        return
    rng = start(config.seed)
    waves = read_waves(paths, config.max_hours, rng)
    targets, sizes = make_targets(waves, config.clusters, config.threads)
    model = train(Batches(waves, targets, config), sizes, config, rng)
    beside = begin_folder(args.output)
    model.save_pretrained(beside)
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE,
        "padding_value": 0.0,
        "padding_side": "right",
        "do_normalize": False,  # the level of the speech is part of what is to be heard
        "return_attention_mask": True,
    }
    (beside / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n", encoding="utf-8")
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()

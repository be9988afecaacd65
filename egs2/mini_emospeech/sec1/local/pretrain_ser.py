#!/usr/bin/env python3
"""Train a mini model of speech emotion recognition on the utt2emo of a training set, from the mini HuBERT.

The HuBERT but for its convolutions is trained further, with the head of transformers' HubertForSequenceClassification:
a projection, the mean over the frames, a linear layer. The result is an ordinary transformers folder.
"""

import argparse
import dataclasses
import json
import random
import shutil
from pathlib import Path

import torch
from pretrain_common import begin_folder, finish_folder, is_made, parser_of, read_config, record_of, sounds_of
from pretrain_conv import extract_features
from pretrain_hubert import as_float
from pretrain_optimizer import Optimizer, count, start
from pretrain_targets import SAMPLE_RATE, WINDOW

from espnet2_secap.data.audio import BadAudio, read_audio
from espnet2_secap.data.io import read_kaldi
from espnet2_secap.errors import SecError, cli, few
from espnet2_secap.pretrained import load_pretrained
from espnet2_secap.progress import progress
from espnet2_secap.values import Count, Natural, Positive, Seed


@dataclasses.dataclass(frozen=True)
class SerConf:
    """Head and training of the mini SER model."""

    classifier_proj_size: Count = 128
    steps: Natural = 150
    batch_seconds: Positive = 40.0
    crop_seconds: Positive = 4.0
    lr: Positive = 1.0e-3
    max_utterances: Count = 4000  # of a larger corpus, as many are drawn
    seed: Seed = 0
    threads: Count = 2


def get_parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "ser", "wav.scp and utt2emo")
    parser.add_argument("--hubert", type=Path, required=True, help="the mini HuBERT, of local/pretrain_hubert.py")
    return parser


def read_waves(paths: dict[str, str]) -> dict[str, torch.Tensor]:
    """Utterance -> samples (S,) at 16 kHz as int16, the shortest first; unusable ones are left out, with a note."""
    waves = {}
    for utt_id, path in progress(paths.items(), len(paths), "reading the training set"):
        try:
            wave = read_audio(path, SAMPLE_RATE)
        except BadAudio as err:
            print(f"left out: {utt_id}: {err}", flush=True)
            continue
        if len(wave) >= WINDOW:
            waves[utt_id] = torch.from_numpy(wave)
    if not waves:
        raise SecError(f"no usable recording among {len(paths)} of the training set; see the reasons above")
    return dict(sorted(waves.items(), key=lambda item: len(item[1])))


def draw(
    waves: list[torch.Tensor], classes: list[int], config: SerConf, rng: random.Random
) -> tuple[torch.Tensor, ...]:
    """Samples (B, S) of recordings of similar length, cropped to the shortest or `crop_seconds`, and classes (B,)."""
    first = rng.randrange(len(waves))
    crop = min(len(waves[first]), round(config.crop_seconds * SAMPLE_RATE))
    size = max(1, round(config.batch_seconds * SAMPLE_RATE / crop))
    first = max(0, min(first, len(waves) - 2 * size))
    pool = range(first, min(len(waves), first + 2 * size))
    crop = min(crop, len(waves[first]))
    chosen = rng.sample(pool, min(size, len(pool)))
    samples = []
    for i in chosen:
        at = rng.randint(0, len(waves[i]) - crop)
        samples.append(as_float(waves[i][at : at + crop]))
    return torch.stack(samples), torch.tensor([classes[i] for i in chosen])


def build(hubert: Path, names: list[str], config: SerConf):
    """The HuBERT with a new head."""
    import transformers

    sizes = load_pretrained("AutoConfig", str(hubert), "--hubert")
    sizes.id2label = dict(enumerate(names))
    sizes.label2id = {name: number for number, name in enumerate(names)}
    sizes.classifier_proj_size = config.classifier_proj_size
    model = transformers.HubertForSequenceClassification(sizes)
    model.hubert = load_pretrained("HubertModel", str(hubert), "--hubert")
    model.freeze_feature_encoder()
    return model


def classify(model, samples: torch.Tensor) -> torch.Tensor:
    """`model(samples).logits`, (B, C), faster: samples (B, S)."""
    with torch.no_grad():
        features = extract_features(model.hubert.feature_extractor, samples)
    hidden = model.hubert.encoder(model.hubert.feature_projection(features)).last_hidden_state
    return model.classifier(model.projector(hidden).mean(dim=1))


def train(model, waves: list[torch.Tensor], classes: list[int], config: SerConf, rng: random.Random) -> None:
    """Train all but the convolutions."""
    print(f"mini SER model: {count(model)}, {len(waves)} utterances of {model.config.num_labels} labels", flush=True)
    optimizer = Optimizer(model, config.lr, config.steps, threads=config.threads)

    def loss_of(samples: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = classify(model, samples)
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        return loss, torch.stack([loss.detach(), (logits.argmax(1) == wanted).float().mean()])

    shown = []
    for _ in progress(range(config.steps), desc="training the mini SER model"):
        shown.append(optimizer.step(loss_of, draw(waves, classes, config, rng)))
    if shown:
        loss, right = torch.stack(shown[-10:]).mean(0).tolist()
        print(f"mini SER model: loss {loss:.3f}, {100 * right:.0f}% of the last {len(shown[-10:])} batches right")


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = read_config(args.config, "ser", SerConf(), args.seed)
    load_pretrained("AutoConfig", str(args.hubert), "--hubert")  # says what is wrong with the folder, before any work
    labels, paths = read_kaldi(args.train_set / "utt2emo"), read_kaldi(args.train_set / "wav.scp")
    if missing := sorted(paths.keys() - labels):
        raise SecError(f"{args.train_set}/utt2emo: has no label for {few(missing)}; add one for each utterance")
    names = sorted({labels[utt_id] for utt_id in paths})
    weights = (path.read_bytes() for path in sorted(args.hubert.glob("*.safetensors")))
    record = record_of(config, [json.dumps(labels, ensure_ascii=False), *sounds_of(paths), *weights])
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same recordings and labels; kept")
        return
    rng = start(config.seed)
    chosen = sorted(rng.sample(sorted(paths), min(len(paths), config.max_utterances)))
    waves = read_waves({utt_id: paths[utt_id] for utt_id in chosen})
    model = build(args.hubert, names, config).train()
    train(model, list(waves.values()), [names.index(labels[utt_id]) for utt_id in waves], config, rng)
    beside = begin_folder(args.output)
    model.eval().save_pretrained(beside)
    shutil.copy(args.hubert / "preprocessor_config.json", beside)
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()

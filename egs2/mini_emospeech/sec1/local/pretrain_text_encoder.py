#!/usr/bin/env python3
"""Pretrain a mini sentence encoder, a small BERT, on the captions of a training set: the model of SIM1 in mini tables.

Captions of one utterance, which different annotators wrote, shall be nearer to each other than to those of the rest of
the batch (as in contrastive sentence embeddings; Gao et al., EMNLP 2021, with real pairs). The result is an ordinary
transformers folder with vocab.txt, read by mean pooling.
"""

import argparse
import dataclasses
import json
import random

import torch
from pretrain_common import begin_folder, character_tokenizer, finish_folder, is_made, parser_of, read_config, record_of
from pretrain_optimizer import Optimizer, count, start

from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import SecError, cli
from espnet2_secap.masks import masked_mean
from espnet2_secap.progress import progress
from espnet2_secap.values import Count, Natural, Positive, Seed

PAD = 0


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig:
    """Sizes and training of the mini sentence encoder."""

    hidden_size: Count = 128
    intermediate_size: Count = 256
    num_hidden_layers: Count = 2
    num_attention_heads: Count = 4
    max_position_embeddings: Count = 128
    steps: Natural = 400
    batch_size: Count = 48
    lr: Positive = 1.0e-3
    temperature: Positive = 0.1
    seed: Seed = 0
    threads: Count = 2  # each contrasts its part of the batch


def get_parser() -> argparse.ArgumentParser:
    return parser_of(__doc__, "text_encoder", "captions")


def build(config: TextEncoderConfig, size: int):
    """A BERT with random weights."""
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=PAD,
        )
    )


def train(captions: list[list[list[int]]], size: int, config: TextEncoderConfig, rng: random.Random):
    """Train a BERT from scratch; return it.

    Args:
        captions: ids of the captions of each utterance, two or more.
        size: of the vocabulary.
    """
    model = build(config, size)
    print(f"mini sentence encoder: {count(model)}, {size} characters", flush=True)
    optimizer = Optimizer(model, config.lr, config.steps, threads=config.threads)

    def embed(ids: torch.Tensor) -> torch.Tensor:
        mask = ids != PAD
        hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return torch.nn.functional.normalize(masked_mean(hidden, mask), dim=-1)

    def loss_of(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = embed(one) @ embed(other).T / config.temperature
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(one)))
        return loss, loss.detach()

    loss = torch.tensor(float("nan"))
    most = config.max_position_embeddings
    for _ in progress(range(config.steps), desc="training the mini sentence encoder"):
        chosen = rng.sample(captions, min(config.batch_size, len(captions)))  # different utterances
        pairs = [rng.sample(some, 2) for some in chosen]
        sides = [[torch.tensor(pair[at][:most]) for pair in pairs] for at in (0, 1)]
        loss = optimizer.step(loss_of, tuple(torch.nn.utils.rnn.pad_sequence(one, batch_first=True) for one in sides))
    told = f"loss {loss.item():.3f} in the last step" if config.steps else "random weights"
    print(f"mini sentence encoder: {told}", flush=True)
    return model.eval()


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = read_config(args.config, "text_encoder", TextEncoderConfig(), args.seed)
    captions = read_captions(args.train_set / "captions")
    record = record_of(config, [json.dumps(captions, ensure_ascii=False)])
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same captions; kept")
        return
    several = [some for some in captions.values() if len(some) > 1]
    if not several:
        raise SecError(f"{args.train_set / 'captions'}: no utterance has two captions, whose likeness could be learned")
    rng = start(config.seed)
    beside = begin_folder(args.output)
    tokenizer = character_tokenizer(beside, captions.values(), model_max_length=config.max_position_embeddings)
    ids = [[tokenizer.encode(text) for text in some] for some in several]
    model = train(ids, len(tokenizer), config, rng)
    model.save_pretrained(beside)
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()

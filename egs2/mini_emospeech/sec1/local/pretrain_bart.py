#!/usr/bin/env python3
"""Pretrain a mini BART on the captions of a training set, with a tokenizer of characters as Chinese BARTs have it.

As BART, it learns to write a text from a damaged one: its encoder reads words of the caption, or of another caption of
the same utterance, in random order and some left out, and with noise on their embeddings, since it will read speech.
The result is an ordinary transformers folder with vocab.txt.
"""

import argparse
import dataclasses
import json
import random

import torch
from pretrain_common import (
    SPECIAL,
    begin_folder,
    character_tokenizer,
    finish_folder,
    is_made,
    parser_of,
    read_config,
    record_of,
)
from pretrain_optimizer import Optimizer, count, start

from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import cli
from espnet2_secap.progress import progress
from espnet2_secap.values import Amount, Count, Natural, Positive, Seed, Share

PAD, UNK, CLS, SEP, _ = range(len(SPECIAL))
IGNORE = -100


@dataclasses.dataclass(frozen=True)
class BartConf:
    """Sizes and training of the mini BART."""

    d_model: Count = 192
    ffn_dim: Count = 384
    layers: Count = 2  # of the encoder, and of the decoder
    attention_heads: Count = 4
    max_position_embeddings: Count = 512
    steps: Natural = 500
    batch_size: Count = 24
    lr: Positive = 1.5e-3
    own_hints: Share = 0.5  # share of texts that are damaged captions of the very caption that is to be written
    max_hints: Natural = 16
    hint_noise: Amount = 0.5  # noise on the hints, in standard deviations of the embeddings
    seed: Seed = 0
    threads: Count = 2


def get_parser() -> argparse.ArgumentParser:
    return parser_of(__doc__, "bart", "captions")


def build(config: BartConf, size: int):
    """A BART with random weights."""
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=size,
            d_model=config.d_model,
            encoder_ffn_dim=config.ffn_dim,
            decoder_ffn_dim=config.ffn_dim,
            encoder_layers=config.layers,
            decoder_layers=config.layers,
            encoder_attention_heads=config.attention_heads,
            decoder_attention_heads=config.attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            dropout=0.0,
            attention_dropout=0.0,
            pad_token_id=PAD,
            bos_token_id=CLS,
            eos_token_id=SEP,
            decoder_start_token_id=SEP,  # as BART: the decoder reads its end, then its begin
            forced_eos_token_id=SEP,
            forced_bos_token_id=None,
        )
    )


def draw(captions: list[list[list[int]]], config: BartConf, rng: random.Random) -> tuple[torch.Tensor, ...]:
    """A batch: hints (B, S) and what the decoder reads (B, T), padded, and what it shall write (B, T)."""
    hints, texts = [], []
    for _ in range(config.batch_size):
        own = rng.choice(captions)
        own = rng.sample(own, len(own))
        words = own[0] if rng.random() < config.own_hints else own[-1]
        most = min(config.max_hints, len(words))
        hints.append(torch.tensor(rng.sample(words, rng.randint(min(3, most), most)) or [UNK]))
        texts.append(torch.tensor([CLS, *own[0], SEP][: config.max_position_embeddings]))
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=PAD)
    read = torch.cat([torch.full((len(ids), 1), SEP), ids[:, :-1]], dim=1)
    write = ids.masked_fill(ids == PAD, IGNORE)
    write[:, 0] = IGNORE  # the tokenizer's own
    return torch.nn.utils.rnn.pad_sequence(hints, batch_first=True, padding_value=PAD), read, write


def train(captions: list[list[list[int]]], size: int, config: BartConf, rng: random.Random):
    """Train a BART from scratch; return it."""
    model = build(config, size)
    print(f"mini BART: {count(model)}, {size} characters", flush=True)
    optimizer = Optimizer(model, config.lr, config.steps, threads=config.threads)

    def loss_of(hints, read, write, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedded = model.get_input_embeddings()(hints)  # (B, S, D)
        noise = noise * embedded.detach().std() * config.hint_noise
        logits = model(inputs_embeds=embedded + noise, attention_mask=hints != PAD, decoder_input_ids=read).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), write.flatten(), ignore_index=IGNORE)
        return loss, loss.detach()

    loss = torch.tensor(float("nan"))
    for _ in progress(range(config.steps), desc="training the mini BART"):
        hints, *texts = draw(captions, config, rng)
        noise = torch.randn(*hints.shape, config.d_model)  # here: the order of threads would decide within loss_of
        loss = optimizer.step(loss_of, (hints, *texts, noise))
    told = f"loss {loss.item():.3f} nats per character in the last step" if config.steps else "random weights"
    print(f"mini BART: {told}", flush=True)
    return model.eval()


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = read_config(args.config, "bart", BartConf(), args.seed)
    captions = read_captions(args.train_set / "captions")
    record = record_of(config, [json.dumps(captions, ensure_ascii=False)])
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same captions; kept")
        return
    rng = start(config.seed)
    beside = begin_folder(args.output)
    tokenizer = character_tokenizer(beside, captions.values())
    ids = [[tokenizer.encode(text, add_special_tokens=False) for text in some] for some in captions.values()]
    model = train(ids, len(tokenizer), config, rng)
    model.save_pretrained(beside)
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()

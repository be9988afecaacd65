#!/usr/bin/env python3
"""Train a mini LLaMA and its sentencepiece tokenizer on the captions of a training set.

The result is an ordinary transformers folder that has tokenizer.model and no tokenizer.json, as the LLaMA has that
SECap uses. It is trained on two kinds of sequences, so that it can do what larger models have learned elsewhere:
  <s> caption </s> caption </s> instruction caption </s> ...     all captions of one utterance, in random order
  <s> hints instruction caption </s>
where the hints are words of the caption or of another one of the same utterance, in random order, some left out. The
instruction may be missing. A model trained on single captions would never have had a reason to look at what stands
before the instruction - and there the audio will be.
"""

import argparse
import dataclasses
import io
import json
import random
from pathlib import Path

import sentencepiece
import torch
from pretrain_common import (
    Optimizer,
    begin_folder,
    config_of,
    count,
    finish_folder,
    is_made,
    parser_of,
    read_config,
    record_of,
    start,
)

from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.errors import cli
from espnet2_secap.progress import progress
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.values import Amount, Count, Natural, Positive, Seed, Share

IGNORE = -100
SPECIAL = 3 + 256  # <unk> <s> </s> and one piece per byte


@dataclasses.dataclass(frozen=True)
class LLMConfig:
    """Sizes and training of the mini LLaMA."""

    merges: Natural = 300  # pieces of the vocabulary beyond single characters
    hidden_size: Count = 256
    intermediate_size: Count = 512
    num_hidden_layers: Count = 4
    num_attention_heads: Count = 4
    max_position_embeddings: Count = 512
    tie_word_embeddings: bool = False
    steps: Natural = 400  # 0: random weights, which stage 6 trains
    batch_tokens: Count = 700
    lr: Positive = 1.5e-3
    hinted: Share = 0.4  # share of sequences with hints
    own_hints: Share = 0.3  # share of these whose hints are of the very caption that is to be said
    max_hints: Natural = 16
    hint_noise: Amount = 0.5  # noise on the hints, in standard deviations of the embeddings
    instructed: Share = 0.7  # share of sequences with an instruction
    transcribed: Share = 0.0  # share of sequences that say a transcription instead: more text, where captions are few
    seed: Seed = 0
    threads: Count = 1


def get_parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "llm", "captions and text")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="FOLDER",
        help="sizes, steps and seed of this mini LLaMA, instead of --config and --seed",
    )
    parser.add_argument(
        "--prompts", default="", help="instructions, one per line; zh, en, ja: those of the package; empty: zh"
    )
    return parser


def train_tokenizer(sentences: list[str], merges: int) -> bytes:
    """Fit LLaMA's kind of tokenizer (byte-pair merges, bytes for the unknown, text taken as it is).

    Returns:
        a sentencepiece model with <unk> 0, <s> 1, </s> 2.
    """
    model = io.BytesIO()
    characters = len(set("".join(sentences).replace(" ", "▁")) | {"▁"})
    options = {
        "model_type": "bpe",
        "byte_fallback": True,
        "character_coverage": 1.0,
        "max_sentencepiece_length": 2,  # words, not half sentences: what varies shall be a piece of its own
        "user_defined_symbols": ["▁"],  # the blank, also where no caption has one
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": -1,
        "minloglevel": 2,
    }
    while True:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=model,
                vocab_size=SPECIAL + characters + merges,
                num_threads=1,
                **options,
            )
            return model.getvalue()
        except RuntimeError:  # fewer merges than that are possible
            if merges == 0:
                raise
            merges //= 2


class Sequences:
    """Draws training sequences.

    Args:
        captions: token ids of the captions of each utterance.
        transcriptions: token ids of what is said in each utterance.
        prompts: token ids of the instructions.
        bos, eos: ids that begin a sequence and end a caption.
        config: shares of the kinds of sequences.
    """

    def __init__(
        self,
        captions: list[list[list[int]]],
        transcriptions: list[list[int]],
        prompts: list[list[int]],
        bos: int,
        eos: int,
        config: LLMConfig,
    ):
        self.captions, self.transcriptions, self.prompts = captions, [[one] for one in transcriptions if one], prompts
        self.bos, self.eos, self.config = bos, eos, config

    def draw(self, rng: random.Random, hinted: bool) -> list[tuple[int, str]]:
        """One sequence: ids, each a `hint`, something to `learn`, or just `given`."""
        share = self.config.transcribed if self.transcriptions else 0
        transcribed = share and rng.random() < share
        own = rng.choice(self.transcriptions if transcribed else self.captions)
        own = rng.sample(own, len(own))
        sequence = [(self.bos, "given")]

        def add(ids: list[int], role: str) -> None:
            sequence.extend((one, role) for one in ids)

        if hinted:
            words = own[0] if rng.random() < self.config.own_hints else own[-1]
            add(
                rng.sample(words, rng.randint(min(3, len(words)), min(self.config.max_hints, len(words)))),
                "hint",
            )
            if rng.random() < self.config.instructed:
                add(rng.choice(self.prompts), "given")
            add([*own[0], self.eos], "learn")
        else:
            instructed = rng.randrange(len(own)) if rng.random() < self.config.instructed else None
            for number, caption in enumerate(own):
                if number == instructed:
                    add(rng.choice(self.prompts), "given")
                add([*caption, self.eos], "learn")
        return sequence[: self.config.max_position_embeddings]

    def batch(self, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As many sequences of one kind as fit: padded ids (B, T), labels (B, T), whether it is a hint (B, T)."""
        hinted = rng.random() < self.config.hinted
        rows: list[list[tuple[int, str]]] = [self.draw(rng, hinted)]
        while (len(rows) + 1) * max(map(len, rows)) <= self.config.batch_tokens:
            rows.append(self.draw(rng, hinted))
        ids = torch.full((len(rows), max(map(len, rows))), self.eos)
        labels = torch.full_like(ids, IGNORE)
        hints = torch.zeros_like(ids, dtype=torch.bool)
        for row, sequence in enumerate(rows):
            for column, (one, role) in enumerate(sequence):
                ids[row, column] = one
                labels[row, column] = one if role == "learn" else IGNORE
                hints[row, column] = role == "hint"
        return ids, labels, hints  # padding stands to the right: nothing real attends to it


def build(config: LLMConfig, vocab_size: int, bos: int, eos: int):
    """A LLaMA with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            bos_token_id=bos,
            eos_token_id=eos,
            tie_word_embeddings=config.tie_word_embeddings,
        )
    )


def train(sequences: Sequences, vocab_size: int, config: LLMConfig, rng: random.Random):
    """Train a LLaMA from scratch; return it."""
    model = build(config, vocab_size, sequences.bos, sequences.eos)
    print(f"mini LLaMA: {count(model)}, {vocab_size} pieces", flush=True)
    optimizer = Optimizer(model, config.lr, config.steps, threads=config.threads)

    def loss_of(ids: torch.Tensor, labels: torch.Tensor, hints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = model.get_input_embeddings()(ids)  # (B, T, D)
        noise = torch.randn_like(embeddings) * embeddings.detach().std() * config.hint_noise
        embeddings = embeddings + noise * hints.unsqueeze(-1)
        hidden = model.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, :-1]
        learned = labels[:, 1:] != IGNORE
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]), labels[:, 1:][learned])
        return loss, loss.detach()

    loss = torch.tensor(float("nan"))
    for _ in progress(range(config.steps), desc="training the mini LLaMA"):
        loss = optimizer.step(loss_of, sequences.batch(rng))
    told = f"loss {loss.item():.3f} nats per token in the last step" if config.steps else "random weights"
    print(f"mini LLaMA: {told}", flush=True)
    return model.eval()


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = config_of(args.like, LLMConfig) if args.like else read_config(args.config, "llm", LLMConfig(), args.seed)
    captions = read_captions(args.train_set / "captions")
    text = args.train_set / "text"
    transcriptions = read_kaldi(text, may_be_empty=True) if text.is_file() else {}
    transcriptions = {utt_id: words for utt_id, words in transcriptions.items() if words}
    prompts = read_prompts(args.prompts or "zh")
    record = record_of(config, [json.dumps([captions, transcriptions, prompts], ensure_ascii=False)])
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same captions; kept")
        return
    rng = start(config.seed)
    sentences = [one for several in captions.values() for one in several]
    model_file = train_tokenizer(sentences + sorted(set(transcriptions.values())) + prompts, config.merges)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model_file)
    sequences = Sequences(
        [[sp.encode(one) for one in several] for several in captions.values()],
        [sp.encode(one) for one in transcriptions.values()],
        [sp.encode(prompt) for prompt in prompts],
        sp.bos_id(),
        sp.eos_id(),
        config,
    )
    model = train(sequences, sp.vocab_size(), config, rng)
    beside = begin_folder(args.output)
    model.save_pretrained(beside)
    (beside / "tokenizer.model").write_bytes(model_file)
    tokenizer_config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "model_max_length": config.max_position_embeddings,
    }
    (beside / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n", encoding="utf-8")
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()

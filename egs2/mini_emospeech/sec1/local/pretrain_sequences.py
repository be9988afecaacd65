"""The mini LLaMA's training: sequences that are drawn from captions, and the model that learns them."""

import random
from typing import TYPE_CHECKING

import torch
from pretrain_optimizer import Optimizer, count

from espnet2_secap.progress import progress

if TYPE_CHECKING:
    from pretrain_llm import LLMConfig

IGNORE = -100


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
        config: "LLMConfig",
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


def build(config: "LLMConfig", vocab_size: int, bos: int, eos: int):
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


def train(sequences: Sequences, vocab_size: int, config: "LLMConfig", rng: random.Random):
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

"""How the mini pretrained parts are trained."""

import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


def start(seed: int) -> random.Random:
    """Make torch give the same numbers each time; return a generator for everything else."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    torch.set_num_threads(1)  # for two cores, the work is cut in two: see `pool_of`
    return random.Random(seed)


def pool_of(threads: int) -> ThreadPoolExecutor:
    """Threads that each take a part of the work, with torch's own threads switched off: operations this small gain
    little from several threads."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


class Optimizer:
    """AdamW with a linear warm-up over a tenth of the steps, cosine decay to zero and gradients clipped to norm 1.

    Args:
        model: what is trained.
        lr: highest learning rate.
        steps: number of updates.
        weight_decay: AdamW's.
        threads: parts that a batch is cut into, each of which one thread takes through the model.
    """

    def __init__(self, model: torch.nn.Module, lr: float, steps: int, weight_decay: float = 0.01, threads: int = 1):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.adam = torch.optim.AdamW(self.parameters, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
        warmup = max(1, steps // 10)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.adam,
            lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, steps)))),
        )
        self.threads = threads
        self.pool = pool_of(threads)

    def step(self, loss_of: Callable, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """One update.

        Args:
            loss_of: makes a loss, a mean over rows, and numbers to be shown of some rows of each of `batch`.
            batch: tensors (B, ...).

        Returns:
            The numbers, means over the batch.
        """
        size = len(batch[0])
        parts = list(zip(*(tensor.chunk(self.threads) for tensor in batch), strict=True))

        def gradients(part: tuple[torch.Tensor, ...]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
            loss, shown = loss_of(*part)
            share = len(part[0]) / size
            return torch.autograd.grad(loss * share, self.parameters, allow_unused=True), shown * share

        # In the order of the parts, whichever thread is done first: the same numbers each time.
        done = list(self.pool.map(gradients, parts))
        for parameter, *grads in zip(self.parameters, *(one for one, _ in done), strict=True):
            given = [grad for grad in grads if grad is not None]
            parameter.grad = sum(given[1:], given[0]) if given else None
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.schedule.step()
        return sum(shown for _, shown in done)


def count(model: torch.nn.Module) -> str:
    """Number of parameters in words."""
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters"

"""Checkpoints within an epoch, where the clock or a signal asks for one."""

import logging
import sys
import time
from pathlib import Path

import torch

from espnet2_secap.train.batches import Batches
from espnet2_secap.train.interrupt import REQUEUE, interrupt
from espnet2_secap.train.state import NAME, TrainingState, get_random_state, pack_steps, place

GO_ON, SAVE, STOP = 0, 1, 2


class Saver:
    """Saves and stops within one epoch; all processes do so at the same step.

    Args:
        state: of the training.
        sub: ESPnet's reporter of the epoch's training.
        folder: of the experiment.
        options: SECTrainerOptions.
        distributed_option: ESPnet's.
    """

    def __init__(self, state: TrainingState, sub, folder: Path, options, distributed_option):
        self.state, self.sub, self.folder, self.options = state, sub, folder, options
        self.distributed = distributed_option.distributed
        self.first = not self.distributed or distributed_option.dist_rank == 0
        self.last_time = time.monotonic()

    def after_step(self, batches: Batches) -> None:
        """A training step has ended."""
        due = time.monotonic() - self.last_time >= self.options.checkpoint_interval
        ask = self._agree(STOP if interrupt.name else SAVE if due else GO_ON)
        if ask and batches.done % self.options.accum_grad == 0:
            self.train_ended(batches.done)
            self._save()
            if ask == STOP:
                self._stop()

    def train_ended(self, done: int) -> None:
        """So far has the training come, in this epoch or before an interruption."""
        self.done, self.random = done, get_random_state()

    def after_valid_step(self, batches: Batches) -> None:
        """A validation step has ended; where more follow, validation is done again as a whole when all goes on."""
        if self._agree(STOP if interrupt.name and len(batches) else GO_ON):
            self._save()
            self._stop()

    def after_epoch(self) -> None:
        """The epoch has been saved."""
        if self._agree(STOP if interrupt.name else GO_ON):
            self._stop()

    def _agree(self, ask: int) -> int:
        """The most urgent wish of all processes."""
        if not self.distributed:
            return ask
        asked = torch.tensor(ask, device="cuda" if self.options.ngpu else "cpu")
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return int(asked)

    def _save(self) -> None:
        states = [self.random]
        if self.distributed:
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, self.random)
        if self.first:
            steps = pack_steps(self.done, self.sub, states)
            self.state.save(self.folder, steps)
            logging.info(f"Saved {self.folder / NAME}, {place(self.state.reporter, steps)}")
        self.last_time = time.monotonic()

    def _stop(self) -> None:
        if self.distributed:
            torch.distributed.barrier()  # nobody leaves while the first one writes
        if self.first:
            print(
                f"sec_train: stopped by {interrupt.name or 'a signal to another process'}: saved"
                f" {self.folder / NAME}; run the same command again to go on",
                file=sys.stderr,
            )
        sys.exit(REQUEUE)

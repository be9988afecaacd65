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

    Several processes do not wait for each other's wishes: each step sends its own off, and the next step acts on what
    all sent. They stop one step after the first of them was asked to.

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
        self.sent: tuple | None = None  # the last step's wish on its way: a handle, and the tensor with the result

    def after_step(self, batches: Batches) -> None:
        """A training step has ended."""
        due = time.monotonic() - self.last_time >= self.options.checkpoint_interval
        ask = self._exchange(STOP if interrupt.name else SAVE if due else GO_ON)
        if ask and batches.done % self.options.accum_grad == 0:
            self.train_ended(batches.done)
            self._save()
            if ask == STOP:
                self._stop()

    def train_ended(self, done: int) -> None:
        """So far has the training come, in this epoch or before an interruption."""
        self._receive()  # no wish of the training reaches the validation; it is sent again there
        self.done, self.random = done, get_random_state()

    def after_valid_step(self, batches: Batches) -> None:
        """A validation step has ended; where more follow, validation is done again as a whole when all goes on."""
        if self._exchange(STOP if interrupt.name else GO_ON) and len(batches):
            self._receive()
            self._save()
            self._stop()

    def valid_ended(self) -> None:
        """The validation has ended: no wish stays on its way, since a process may leave now."""
        self._receive()

    def after_epoch(self) -> None:
        """The epoch has been saved."""
        self._receive()
        if not self.distributed:
            agreed = STOP if interrupt.name else GO_ON
        else:
            self._send(STOP if interrupt.name else GO_ON)
            agreed = self._receive()
        if agreed:
            self._stop()

    def _exchange(self, ask: int) -> int:
        """Send this process's wish; the most urgent one that any process sent at the step before.

        With one process the wish itself.
        """
        if not self.distributed:
            return ask
        agreed = self._receive()
        self._send(ask)
        return agreed

    def _send(self, ask: int) -> None:
        asked = torch.tensor(ask, device="cuda" if self.options.ngpu else "cpu")
        self.sent = torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, async_op=True), asked

    def _receive(self) -> int:
        """The most urgent wish of those that were sent last; none if nothing is on its way."""
        if self.sent is None:
            return GO_ON
        (handle, asked), self.sent = self.sent, None
        handle.wait()
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

"""The batches of an epoch, which may start in the middle of it."""

import logging
from collections.abc import Callable, Iterator

from espnet2.train.reporter import SubReporter
from torch.utils.data import DataLoader

from espnet2_secap.train.state import set_random_state, unpack_stats


def epoch_of(factory, epoch: int) -> DataLoader:
    """The batches of an epoch; random choices for an utterance depend on the epoch, not on earlier batches."""
    preprocess = getattr(getattr(factory, "dataset", None), "preprocess", None)
    if preprocess is not None:
        preprocess.set_epoch(epoch)
    return factory.build_iter(epoch)


class Batches:
    """The remaining batches of an epoch, with a callback after each step.

    Args:
        loader: ESPnet's DataLoader of the epoch.
        after: called with this object after each step of ESPnet's loop.
    """

    def __init__(self, loader, after: Callable[["Batches"], None]):
        self.loader = loader
        self.after = after
        self.done = 0
        self.utts: list[str] = []  # of the batch that was handed out last
        self.random: dict | None = None

    def go_on(self, steps: dict, sub: SubReporter, rank: int) -> None:
        """Skip the batches that are done, and restore the statistics and random states after them.

        Args:
            steps: of an interrupted epoch, by `pack_steps`.
            sub: ESPnet's reporter of the epoch's training.
            rank: of this process.
        """
        unpack_stats(steps, sub)
        self.done = steps["done"]
        if rank < len(steps["random"]):
            self.random = steps["random"][rank]
        else:
            logging.warning("The number of processes has changed: random numbers within this epoch differ")

    def __len__(self) -> int:
        """Number of remaining batches."""
        return len(self.loader) - self.done

    def __iter__(self) -> Iterator:
        batches = iter(_rest(self.loader, self.done) if self.done else self.loader)
        if self.random is not None:  # after iter(), which draws a random number itself
            set_random_state(self.random)
        for batch in batches:
            self.utts = batch[0]
            yield batch
            self.done += 1
            self.after(self)


def _rest(loader: DataLoader, done: int) -> DataLoader:
    """`loader` without its first `done` batches, which are not read."""
    return DataLoader(
        dataset=loader.dataset,
        batch_sampler=list(loader.batch_sampler)[done:],
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
    )

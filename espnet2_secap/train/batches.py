"""The batches of an epoch, which may begin in its middle."""

import logging
from collections.abc import Callable, Iterator

from espnet2.train.reporter import SubReporter
from torch.utils.data import DataLoader

from espnet2_secap.train.state import set_random_state, unpack_stats


def epoch_of(factory, epoch: int) -> DataLoader:
    """The batches of an epoch; what is drawn for an utterance depends on the epoch, not on what came before."""
    preprocess = getattr(getattr(factory, "dataset", None), "preprocess", None)
    if preprocess is not None:
        preprocess.set_epoch(epoch)
    return factory.build_iter(epoch)


class Batches:
    """The batches of an epoch, those that are done left out, with a look at clock and signals after each step.

    Args:
        loader: ESPnet's DataLoader of the epoch.
        after: called with this object when ESPnet's loop has finished a step.
    """

    def __init__(self, loader, after: Callable[["Batches"], None]):
        self.loader = loader
        self.after = after
        self.done = 0
        self.random: dict | None = None

    def go_on(self, steps: dict, sub: SubReporter, rank: int) -> None:
        """Leave out the batches that are done, and take over statistics and random numbers after them.

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
            logging.warning("The number of processes was another before: random numbers within this epoch differ")

    def __len__(self) -> int:
        """Batches that are left."""
        return len(self.loader) - self.done

    def __iter__(self) -> Iterator:
        batches = iter(_rest(self.loader, self.done) if self.done else self.loader)
        if self.random is not None:  # after iter(), which draws a number itself
            set_random_state(self.random)
        for batch in batches:
            yield batch
            self.done += 1
            self.after(self)


def _rest(loader: DataLoader, done: int) -> DataLoader:
    """`loader` without its first `done` batches, which are not even read."""
    return DataLoader(
        dataset=loader.dataset,
        batch_sampler=list(loader.batch_sampler)[done:],
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
    )

"""ESPnet's iterator over batches that are drawn anew in each epoch."""

from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory

from espnet2_secap.errors import SecError
from espnet2_secap.sampler.nk import NKSampler


class NKIterFactory(AbsIterFactory):
    """Iterators over the batches of `sampler.epoch(epoch)`.

    With several processes each gets every world_size-th utterance of every batch: together they process one N x K
    batch, and each gets all categories as evenly as possible.

    Args:
        dataset: ESPnet's dataset.
        sampler: draws the batches.
        distributed: split each batch between the processes.
        seed: of the data loader's workers.
        options: arguments of ESPnet's SequenceIterFactory (num_workers, collate_fn, pin_memory).
    """

    def __init__(self, dataset, sampler: NKSampler, distributed: bool = False, seed: int = 0, **options):
        self.dataset = dataset
        self.sampler = sampler
        self.distributed = distributed
        self.seed = seed
        self.options = options

    def batches(self, epoch: int, rank: int = 0, world_size: int = 1) -> list[list[str]]:
        """The batches of process `rank` of `world_size` in an epoch."""
        parts = [batch[rank::world_size] for batch in self.sampler.epoch(epoch)]
        assert all(parts), "a batch smaller than the number of processes"
        return parts

    def build_iter(self, epoch: int, shuffle: bool | None = None):
        """The batches of one epoch; `shuffle` is ignored, since the sampler shuffles."""
        ranks = {}
        if self.distributed:
            import torch.distributed as dist

            ranks = {"rank": dist.get_rank(), "world_size": dist.get_world_size()}
            smallest = self.sampler.smallest_batch()
            if smallest < ranks["world_size"]:
                raise SecError(
                    f"sampler: batches of {smallest} utterances can occur, fewer than the {ranks['world_size']}"
                    " processes; raise num_categories or per_category in sampler_conf, or train with fewer processes"
                )
        factory = SequenceIterFactory(
            dataset=self.dataset,
            batches=self.batches(epoch, **ranks),
            seed=self.seed,
            shuffle=False,
            **self.options,
        )
        return factory.build_iter(epoch)

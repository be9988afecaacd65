"""ESPnet's iterator over batches that are dealt anew each epoch."""

from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory

from espnet2_secap.sampler.nk import NKSampler


class NKIterFactory(AbsIterFactory):
    """Iterators over the batches of `sampler.epoch(epoch)`.

    With several processes each takes every world_size-th utterance of every batch, so that all processes together see
    the N x K of one batch and each sees every category as evenly as possible.

    Args:
        dataset: ESPnet's dataset.
        sampler: deals the batches.
        distributed: share the batches among the processes.
        seed: for what the data loader's workers draw.
        options: of ESPnet's SequenceIterFactory (num_workers, collate_fn, pin_memory).
    """

    def __init__(self, dataset, sampler: NKSampler, distributed: bool = False, seed: int = 0, **options):
        self.dataset = dataset
        self.sampler = sampler
        self.distributed = distributed
        self.seed = seed
        self.options = options

    def batches(self, epoch: int, rank: int = 0, world_size: int = 1) -> list[list[str]]:
        """What process `rank` of `world_size` sees in an epoch."""
        shares = [batch[rank::world_size] for batch in self.sampler.epoch(epoch)]
        assert all(shares), "a batch smaller than the number of processes"
        return shares

    def build_iter(self, epoch: int, shuffle: bool | None = None):
        """The batches of one epoch; `shuffle` is the sampler's own affair."""
        place = {}
        if self.distributed:
            import torch.distributed as dist

            place = {"rank": dist.get_rank(), "world_size": dist.get_world_size()}
        factory = SequenceIterFactory(
            dataset=self.dataset,
            batches=self.batches(epoch, **place),
            seed=self.seed,
            shuffle=False,
            **self.options,
        )
        return factory.build_iter(epoch)

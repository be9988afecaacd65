"""The rows that several processes hold, together in each of them, for losses over a whole batch."""

import torch
from torch import distributed as dist
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """(n, D) of each process -> (sum of n, D) in all of them, in the order of their ranks; `rows` itself in one alone.

    Gradients flow back to the process that a row comes from, as the sum over all processes' losses. Where each of W
    processes computes the same loss from all rows, this is W times its gradient, and the mean over the processes that
    DistributedDataParallel takes is the gradient of one process with the whole batch.

    Args:
        rows: (n, D); n may differ between processes, D not.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows
    sizes = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    sizes = torch.cat(sizes).tolist()
    before = sum(sizes[: dist.get_rank()])
    # Each puts its rows where they belong among zeros, and the sum has them all.
    return all_reduce(F.pad(rows, (0, 0, before, sum(sizes) - before - len(rows))))

"""Gathers the rows of all processes in each of them, for losses over the whole batch."""

import torch
from torch import distributed as dist
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """(n, D) of each process -> (sum of n, D) in each process, in the order of ranks; `rows` itself without others.

    The gradient of the sum of all processes' losses flows back to the process that a row comes from. If each of the W
    processes computes the same loss from all rows, this is W times the gradient of that loss, and the mean over the
    processes, which DistributedDataParallel takes, is the gradient of one process with the whole batch.

    Args:
        rows: (n, D); n may differ between processes, D may not.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows
    sizes = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    sizes = torch.cat(sizes).tolist()
    before = sum(sizes[: dist.get_rank()])
    # Each process pads its rows with zeros at the places of the others; the sum then has all rows.
    return all_reduce(F.pad(rows, (0, 0, before, sum(sizes) - before - len(rows))))

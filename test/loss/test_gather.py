"""gather_rows in one process and in two real ones."""

import subprocess
import sys

import pytest
import torch
from torch import distributed as dist

from espnet2_secap.loss.gather import gather_rows

ROWS = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])]  # of rank 0 and 1, of different lengths


def test_one_process_gets_its_rows_back():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    rows = ROWS[rank].clone().requires_grad_()
    together = gather_rows(rows)
    # both processes compute sum_i i * |row_i|^2; with i from 1 the gradient of row i is 2 i row_i, from each of them
    (torch.arange(1.0, 4.0)[:, None] * together**2).sum().backward()
    torch.save((together.detach(), rows.grad), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow(6)
def test_two_processes_get_all_rows_in_order_and_their_gradients_back(tmp_path):
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), tmp_path]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    gradients = []
    for rank in range(2):
        together, gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert together.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
        gradients.append(gradient)
    alone = torch.cat(ROWS) * torch.tensor([[2.0], [4.0], [6.0]])  # of one process with all rows
    assert torch.equal(torch.cat(gradients), 2 * alone)


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])

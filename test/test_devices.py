"""A device that cannot be used is named in one line; cores are counted that this process may use."""

import os

import pytest
import torch

from espnet2_secap.devices import check_device, cpu_cores
from espnet2_secap.errors import SecError


def test_the_cpu_can_be_used():
    check_device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_no_such_device(device):
    with pytest.raises(SecError, match=f"^--device {device}: ") as error:
        check_device(device)
    assert "cpu" in str(error.value).split(";")[-1] and "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_without_cuda(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SecError, match=f"--device {device}: no CUDA device here; use cpu"):
        check_device(device)


def test_cores_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3, 5}, raising=False)
    assert cpu_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_cores() == 1

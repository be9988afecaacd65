import os
import random

import numpy as np
import pytest
import torch
from crafted import Evil
from espnet2.train.reporter import Reporter

from espnet2_secap.errors import SecError
from espnet2_secap.train.state import (
    TrainingState,
    get_random_state,
    pack_steps,
    read_newest,
    save_tensors,
    set_random_state,
    unpack_stats,
)


def state_of(reporter=None) -> TrainingState:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    return TrainingState(model, [optimizer], [None], None, reporter or Reporter())


def step(state):
    state.model(torch.ones(1, 3)).sum().backward()
    state.optimizers[0].step()


def test_an_epoch_that_has_not_ended_counts_as_not_begun(tmp_path):
    reporter = Reporter()
    reporter.set_epoch(1)
    with reporter.observe("train") as sub:
        sub.register({"loss": 3.0}, 2.0)
        sub.next()
    reporter.set_epoch(2)
    state = state_of(reporter)
    step(state)
    with reporter.observe("train") as sub:
        for loss, weight in ((1.0, 1.0), (0.1, 3.0)):
            sub.register({"loss": loss}, weight)
            sub.register({"lr": 0.5})
            sub.next()
        state.save(tmp_path, pack_steps(2, sub, [get_random_state()]))

    other = state_of()
    steps = other.load(tmp_path)
    assert other.reporter.get_epoch() == 1 and list(other.reporter.stats) == [1]
    assert torch.equal(other.model.weight, state.model.weight)
    assert other.optimizers[0].state_dict()["state"][0]["step"] == 1
    other.reporter.set_epoch(2)
    with other.reporter.observe("train") as sub:
        unpack_stats(steps, sub)
        sub.register({"loss": 0.3}, 4.0)
        sub.register({"lr": 0.25})
        sub.next()
    stats = other.reporter.stats[2]["train"]
    assert stats["loss"] == (1.0 * 1 + 0.1 * 3 + 0.3 * 4) / 8 and stats["total_count"] == 1 + 3
    assert stats["lr"] == pytest.approx((0.5 + 0.5 + 0.25) / 3)


def test_random_numbers_go_on():
    def draw():
        return torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.random()

    np.random.standard_normal(1)  # leaves half a pair of Gaussian numbers in store
    before = get_random_state()
    expected = draw()
    assert draw() != expected
    set_random_state(before)
    assert draw() == expected


def test_a_state_of_random_numbers_is_read_without_running_code(tmp_path):
    save_tensors(tmp_path / "checkpoint.pth", {"random": get_random_state()})
    _, states = read_newest(tmp_path)
    set_random_state(states["random"])


def test_the_previous_checkpoint_is_kept(tmp_path):
    state = state_of()
    weights = []
    for _ in range(3):
        step(state)
        state.save(tmp_path)
        weights.append(state.model.weight.detach().clone())
    for name, expected in (("checkpoint.pth", weights[2]), ("checkpoint.prev.pth", weights[1])):
        assert torch.equal(torch.load(tmp_path / name)["model"]["weight"], expected)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.prev.pth", "checkpoint.pth"]


def test_a_crafted_checkpoint_runs_no_code(tmp_path, marker):
    torch.save({"model": Evil(marker)}, tmp_path / "checkpoint.pth")
    with pytest.raises(SecError, match="checkpoint.pth"):
        state_of().load(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(SecError, match="no such file"):
        read_newest(tmp_path)


def test_another_model(tmp_path):
    state_of().save(tmp_path)
    other = TrainingState(torch.nn.Linear(4, 2), [], [], None, Reporter())
    with pytest.raises(SecError, match="cannot resume from it.*another --sec_tag"):
        other.load(tmp_path)

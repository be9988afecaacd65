"""When wishes to save or stop are acted on."""

import argparse

import pytest
import torch
from espnet2.train.reporter import Reporter

from espnet2_secap.train import saver as saver_module
from espnet2_secap.train.interrupt import REQUEUE, Interrupt
from espnet2_secap.train.saver import Saver
from espnet2_secap.train.state import NAME, TrainingState


class Steps:
    """The batches of an epoch: how many are done, and how many are left."""

    def __init__(self, count: int):
        self.count, self.done = count, 0

    def __len__(self) -> int:
        return self.count - self.done

    def run(self, after, signal_at: int = 0, interrupt=None) -> None:
        """All steps; the signal comes during step `signal_at`."""
        while len(self):
            self.done += 1
            if self.done == signal_at:
                interrupt.name = "SIGTERM"
            after(self)


@pytest.fixture
def world(tmp_path):
    """This process as the only one of a distributed training."""
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/meet", world_size=1, rank=0)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts an epoch with a saver; its interrupt is one of the test's own."""
    interrupt = Interrupt()
    monkeypatch.setattr(saver_module, "interrupt", interrupt)

    def of(distributed: bool, accum_grad: int = 1, interval: float = 1e9):
        model = torch.nn.Linear(2, 2)
        reporter = Reporter(1)
        state = TrainingState(model, [torch.optim.SGD(model.parameters(), lr=0.1)], [None], None, reporter)
        options = argparse.Namespace(checkpoint_interval=interval, accum_grad=accum_grad, ngpu=0)
        place = argparse.Namespace(distributed=distributed, dist_rank=0)
        sub = reporter.start_epoch("train")
        sub.register({"loss": 1.0})
        sub.next()
        return Saver(state, sub, tmp_path, options, place), interrupt

    return of


def check_stop(saver, interrupt, folder, stops_at):
    """A signal in the third step ends the epoch after step `stops_at`, and a checkpoint says so."""
    steps = Steps(10)
    with pytest.raises(SystemExit) as stopped:
        steps.run(saver.after_step, 3, interrupt)
    assert stopped.value.code == REQUEUE and steps.done == stops_at
    assert torch.load(folder / NAME, weights_only=True)["steps"]["done"] == stops_at


@pytest.mark.parametrize("accum_grad,stops_at", [(1, 3), (2, 4), (3, 3)])
def test_one_process_stops_at_once(start, tmp_path, accum_grad, stops_at):
    saver, interrupt = start(False, accum_grad)
    check_stop(saver, interrupt, tmp_path, stops_at)


@pytest.mark.parametrize("accum_grad,stops_at", [(1, 4), (2, 4), (3, 6)])
def test_several_processes_stop_one_step_later(world, start, tmp_path, accum_grad, stops_at):
    saver, interrupt = start(True, accum_grad)
    check_stop(saver, interrupt, tmp_path, stops_at)


def test_a_signal_in_the_last_step_is_heard_in_the_validation(world, start, tmp_path):
    saver, interrupt = start(True)
    steps = Steps(5)
    steps.run(saver.after_step, 5, interrupt)
    saver.train_ended(steps.done)
    validation = Steps(4)
    with pytest.raises(SystemExit):
        validation.run(saver.after_valid_step)
    assert validation.done == 2, "sent after the first, acted on after the second"
    assert torch.load(tmp_path / NAME, weights_only=True)["steps"]["done"] == 5


def test_a_signal_at_the_end_of_the_validation_waits_for_the_epoch(world, start, tmp_path):
    saver, interrupt = start(True)
    Steps(5).run(saver.after_step)
    saver.train_ended(5)
    Steps(4).run(saver.after_valid_step, 3, interrupt)
    assert not (tmp_path / NAME).exists(), "the epoch is saved as a whole"
    with pytest.raises(SystemExit):
        saver.after_epoch()


def test_the_clock_asks_for_a_checkpoint_and_goes_on(world, start, tmp_path):
    saver, _ = start(True, interval=0.0)
    steps = Steps(5)
    steps.run(saver.after_step)
    # sent at 1, saved at 2 (which answers what 2 has sent), sent at 3, saved at 4
    assert torch.load(tmp_path / NAME, weights_only=True)["steps"]["done"] == 4
    saver.train_ended(steps.done)
    Steps(2).run(saver.after_valid_step)
    saver.after_epoch()

"""The batches of an epoch from its start or its middle, and batches of a given size from stage 4's shape files."""

import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_training
import torch
from espnet2.train.reporter import Reporter
from tiny_training import CAPTION, SPEECH, command, make_corpus, write
from torch.utils.data import DataLoader

from espnet2_secap.bin import sec_train
from espnet2_secap.train.batches import Batches, epoch_of
from espnet2_secap.train.state import get_random_state, pack_steps


class Numbers(torch.utils.data.Dataset):
    """0 to 9; remembers what was read."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.read.append(index)
        return index


def loader(dataset) -> DataLoader:
    return DataLoader(dataset, batch_sampler=[[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]], collate_fn=list)


def test_all_batches_with_a_callback_after_each():
    seen = []
    batches = Batches(loader(Numbers()), lambda self: seen.append(self.done))
    assert len(batches) == 4 and list(batches) == [[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]]
    assert seen == [1, 2, 3, 4] and len(batches) == 0


def test_the_callback_comes_after_the_step():
    order = []
    for batch in Batches(loader(Numbers()), lambda self: order.append("after")):
        order.append(batch[0])
    assert order == [0, "after", 2, "after", 5, "after", 6, "after"]


@pytest.fixture
def interrupted():
    """Two steps of an epoch, and the numbers that would have been drawn next."""
    reporter = Reporter()
    reporter.set_epoch(3)
    with reporter.observe("train") as sub:
        for loss in (1.0, 2.0):
            sub.register({"loss": torch.tensor(loss)}, weight=torch.tensor(2.0))
            sub.next()
        state = get_random_state()
        drawn = draw()
        yield pack_steps(2, sub, [state]), drawn


def draw() -> list:
    return [torch.rand(1).item(), np.random.rand(), random.random()]


def test_a_resumed_epoch_skips_what_is_done_and_draws_the_same(interrupted):
    steps, drawn = interrupted
    dataset, reporter = Numbers(), Reporter()
    reporter.set_epoch(3)
    with reporter.observe("train") as sub:
        batches = Batches(loader(dataset), lambda self: None)
        batches.go_on(steps, sub, rank=0)
        assert len(batches) == 2
        rest = iter(batches)
        assert next(rest) == [5] and draw() == drawn and next(rest) == [6, 7, 8, 9]
        assert dataset.read == [5, 6, 7, 8, 9], "finished batches are not read"
        assert [value.value for value in sub.stats["loss"]] == [1.0, 2.0] and sub.count == 2


def test_a_process_that_was_not_there_before_is_told(interrupted, caplog):
    steps, _ = interrupted
    reporter = Reporter()
    reporter.set_epoch(3)
    with reporter.observe("train") as sub:
        batches = Batches(loader(Numbers()), lambda self: None)
        batches.go_on(steps, sub, rank=1)
    assert batches.random is None and "number of processes has changed" in caplog.text


def test_the_preprocessor_hears_the_epoch():
    heard = []
    preprocess = SimpleNamespace(set_epoch=heard.append)
    factory = SimpleNamespace(dataset=SimpleNamespace(preprocess=preprocess), build_iter=lambda epoch: f"of {epoch}")
    assert epoch_of(factory, 7) == "of 7" and heard == [7]
    assert epoch_of(SimpleNamespace(build_iter=lambda epoch: epoch), 2) == 2


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    "options,sampler,batches",
    [
        # utterances of 5 to 12 frames of 6 values: 6 x 12 x 4 = 288 of them with padding in the largest batch
        ({"batch_type": "numel", "batch_bins": 290}, "NumElementsBatchSampler", 2),
        # frames without padding: 5 + 6 + 7 + 8, 9 + 10 + 11, 12
        ({"batch_type": "length", "batch_bins": 30}, "LengthBatchSampler", 3),
    ],
)
def test_batches_of_so_many_values(tiny_llama, tmp_path, caplog, options, sampler, batches):
    corpus = make_corpus(tmp_path)
    conf = tiny_training.caption_conf(tiny_llama)
    del conf["batch_type"], conf["batch_size"]
    path = write(tmp_path / "conf.yaml", conf | options | {"valid_batch_type": "sorted", "max_epoch": 1})
    with caplog.at_level(logging.INFO):
        sec_train.main(command(corpus, tmp_path / "exp", path, [SPEECH, CAPTION]))
    assert (tmp_path / "exp" / "1epoch.pth").exists()
    said = next(line for line in caplog.text.splitlines() if f"[train] Batch sampler: {sampler}" in line)
    assert f"N-batch={batches}, " in said and f"batch_bins={options['batch_bins']}" in said

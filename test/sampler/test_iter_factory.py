import pytest
import torch

from espnet2_secap.errors import SecError
from espnet2_secap.sampler.iter_factory import NKIterFactory
from espnet2_secap.sampler.nk import NKSampler

UTT2EMO = {f"{emotion}{i}": emotion for emotion in ("angry", "calm", "sad") for i in range(4)}


def collate(items):
    return [utt for utt, _ in items], torch.stack([value for _, value in items])


@pytest.fixture
def factory():
    dataset = {utt: (utt, torch.tensor(float(i))) for i, utt in enumerate(UTT2EMO)}
    dataset = type("Dataset", (dict,), {"__getitem__": lambda self, utt: dict.__getitem__(self, utt)})(dataset)
    return NKIterFactory(dataset, NKSampler(UTT2EMO, 2, 2, seed=1), collate_fn=collate)


def test_an_epoch_s_batches_come_in_the_sampler_s_order(factory):
    for epoch in (1, 2, 1):
        batches = [ids for ids, _ in factory.build_iter(epoch)]
        assert batches == factory.sampler.epoch(epoch) and all(len(ids) == 4 for ids in batches)
    assert factory.batches(1) != factory.batches(2)


def test_processes_split_every_batch_between_them(factory):
    parts = [factory.batches(3, rank, 2) for rank in range(2)]
    for batch, first, second in zip(factory.sampler.epoch(3), *parts, strict=True):
        assert sorted(first + second) == sorted(batch) and len(first) == len(second) == 2
        assert len({UTT2EMO[utt] for utt in first}) == 2, "each process sees every category of the batch"


def test_more_processes_than_utterances_of_a_batch(factory):
    with pytest.raises(AssertionError, match="smaller than the number of processes"):
        factory.batches(1, rank=4, world_size=5)


def test_fewer_utterances_in_a_batch_than_processes_is_one_line(factory, monkeypatch):
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 5)
    factory.distributed = True
    with pytest.raises(SecError, match="batches of 4 utterances can occur, fewer than the 5 processes"):
        factory.build_iter(1)


def test_in_a_distributed_training_each_rank_builds_its_own(factory, monkeypatch):
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    factory.distributed = True
    assert [ids for ids, _ in factory.build_iter(1)] == factory.batches(1, 1, 2)

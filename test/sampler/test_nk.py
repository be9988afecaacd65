from collections import Counter

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.sampler.nk import NKSampler

UTT2EMO = (
    {f"a{i:02}": "angry" for i in range(20)}
    | {f"s{i:02}": "sad" for i in range(9)}
    | {"h0": "happy", "h1": "happy"}
    | {f"c{i}": "calm" for i in range(5)}
)


@pytest.fixture
def sampler():
    return NKSampler(UTT2EMO, num_categories=3, per_category=4, seed=3)


def test_every_batch_is_n_by_k_and_every_utterance_comes(sampler):
    batches = sampler.epoch(1)
    for batch in batches:
        assert len(set(batch)) == len(batch), "an utterance twice in one batch"
        counts = Counter(UTT2EMO[utt] for utt in batch)
        assert len(counts) == 3
        for category, count in counts.items():
            assert count == (2 if category == "happy" else 4), category
    assert {utt for batch in batches for utt in batch} == set(UTT2EMO)
    assert len(batches) == 5  # the largest category: 20 utterances, 4 at a time


def test_reproducible_by_epoch_and_different_between_epochs(sampler):
    again = NKSampler(dict(reversed(UTT2EMO.items())), 3, 4, seed=3)
    assert sampler.epoch(2) == again.epoch(2)
    assert sampler.epoch(1) != sampler.epoch(2)
    assert sampler.epoch(1) != NKSampler(UTT2EMO, 3, 4, seed=4).epoch(1)


def test_too_few_categories_is_named():
    with pytest.raises(SecError, match=r"num_categories=5, but utt2emo has only 4"):
        NKSampler(UTT2EMO, 5, 2)
    with pytest.raises(SecError, match="N >= 2"):
        NKSampler(UTT2EMO, 1, 2)

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.baseline import frequent_caption, random_captions

TRAIN = {"t2": ["平静"], "t1": ["高兴", "很高兴"], "t3": ["平静"], "t4": ["高兴", "悲伤"]}


def test_random_captions_come_from_training_and_by_the_seed():
    ids = [f"u{at}" for at in range(50)]
    drawn = random_captions(TRAIN, ids, 3, seed=0)
    assert list(drawn) == ids and all(len(captions) == 3 for captions in drawn.values())
    assert {caption for captions in drawn.values() for caption in captions} == {
        "高兴",
        "很高兴",
        "平静",
        "悲伤",
    }
    assert drawn == random_captions(dict(reversed(TRAIN.items())), ids, 3, seed=0)
    assert drawn != random_captions(TRAIN, ids, 3, seed=1)
    assert random_captions(TRAIN, ["u7"], 3, seed=0) == {"u7": drawn["u7"]}


def test_more_candidates_than_captions():
    assert random_captions({"t": ["高兴"]}, ["u"], 3, seed=0) == {"u": ["高兴"] * 3}


def test_no_candidate_is_refused():
    with pytest.raises(SecError, match="--n_candidates 0"):
        random_captions(TRAIN, ["u"], 0, seed=0)


def test_frequent_caption_is_the_same_whatever_the_order():
    # 高兴 and 平静 are there twice each: the first in byte order wins
    assert "平静".encode() < "高兴".encode()
    for train in (TRAIN, dict(reversed(TRAIN.items()))):
        assert frequent_caption(train, ["a", "b"]) == {"a": ["平静"], "b": ["平静"]}

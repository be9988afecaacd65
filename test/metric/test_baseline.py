import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.baseline import SENTENCES, frequent_caption, held_out, label_captions, random_captions
from espnet2_secap.metric.words import load_words, named

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


def test_training_utterances_are_not_given_their_own_captions():
    """Where the training set is a test set, too, these are the references."""
    train = {f"t{at}": [f"one {at}", f"two {at}"] for at in range(5)}
    for n in (1, 8, 20):
        drawn = random_captions(train, train, n, seed=0, same_set=True)
        assert drawn == random_captions(train, list(train), n, seed=0, same_set=True)
        for utt, captions in drawn.items():
            assert len(captions) == n and not set(captions) & set(train[utt])
            assert len(set(captions)) == min(n, 8)
    assert random_captions({"t": ["高兴"]}, ["t"], 2, seed=0, same_set=True) == {"t": ["高兴"] * 2}


def test_a_human_caption_is_held_out():
    captions, references = held_out({"a": ["x", "y", "z"], "b": ["x"]})
    assert captions == {"a": ["x"]} and references == {"a": ["y", "z"]}
    with pytest.raises(SecError, match="no utterance has two human captions"):
        held_out({"a": ["x"]})


def test_captions_of_labels():
    emotions = load_words("zh")["emotion"]
    labels = {"a": "angry", "b": "生气", "c": "sad"}
    assert label_captions(labels, emotions, "{}") == {"a": ["愤怒"], "b": ["愤怒"], "c": ["悲伤"]}
    for lang, sentence in SENTENCES.items():  # what is said is the emotion, and nothing else
        words = load_words(lang)["emotion"]
        said = label_captions({name: name for name in words}, words, sentence)
        assert all(named(said[name][0], words) == [name] for name in words)
    with pytest.raises(SecError, match="boredom, contempt: no such emotion .*--label_map .*categories: happy, excited"):
        label_captions({"a": "contempt", "b": "boredom", "c": "sad"}, emotions, "{}")

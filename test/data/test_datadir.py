"""Writing data directories together, and drawing sets from a corpus."""

import os
from collections import Counter

import pytest

from espnet2_secap.data.datadir import DataSet, draw_evenly, write_data_dirs
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.errors import SecError


def dataset(ids, **changes):
    tables = {
        "wav": {i: f"wav/{i}.wav" for i in ids},
        "captions": {i: ["x"] for i in ids},
        "spk": dict.fromkeys(ids, "s"),
        "text": dict.fromkeys(ids, "words"),
        "attributes": {
            "emo": {i: "sad" if i < "b" else "happy" for i in ids},
            "rate": dict.fromkeys(ids, "fast"),
        },
    }
    return DataSet(**{**tables, **changes})


def test_every_file_is_written(tmp_path):
    write_data_dirs(tmp_path, {"train": dataset("ab"), "test": dataset("c", text={}, attributes={})})
    assert sorted(os.listdir(tmp_path)) == ["test", "train"]
    assert sorted(os.listdir(tmp_path / "test")) == ["captions", "spk2utt", "utt2spk", "wav.scp"]
    assert read_kaldi(tmp_path / "train" / "emo2utt") == {"happy": "b", "sad": "a"}
    assert read_kaldi(tmp_path / "train" / "utt2rate") == {"a": "fast", "b": "fast"}
    assert read_kaldi(tmp_path / "train" / "spk2utt") == {"s": "a b"}
    assert read_captions(tmp_path / "train" / "captions") == {"a": ["x"], "b": ["x"]}


def test_a_bad_set_leaves_all_old_ones(tmp_path):
    write_data_dirs(tmp_path, {"train": dataset("ab"), "test": dataset("c")})
    with pytest.raises(SecError, match="d"):
        write_data_dirs(tmp_path, {"train": dataset("xy"), "test": dataset("d", spk={"e": "s"})})
    assert list(read_kaldi(tmp_path / "train" / "wav.scp")) == ["a", "b"]
    assert list(read_kaldi(tmp_path / "test" / "wav.scp")) == ["c"]
    assert sorted(os.listdir(tmp_path)) == ["test", "train"]


def test_old_files_do_not_stay_in_a_new_set(tmp_path):
    write_data_dirs(tmp_path, {"train": dataset("ab")})
    write_data_dirs(tmp_path, {"train": dataset("xy", attributes={})})
    assert not (tmp_path / "train" / "utt2emo").exists()


def test_subset():
    small = dataset("abc").subset(["b"])
    assert (list(small.wav), small.attributes["rate"], small.text) == (["b"], {"b": "fast"}, {"b": "words"})


def test_a_draw_is_in_proportion_and_repeatable():
    strata = {f"{i:04d}": ("s1" if i < 800 else "s2", "sad" if i % 4 == 0 else "happy") for i in range(1000)}
    drawn, left = draw_evenly(strata, 100, seed=1)
    assert len(drawn) == 100
    assert sorted(drawn + left) == sorted(strata)
    counts = Counter(strata[i] for i in drawn)
    for stratum, wanted in {
        ("s1", "sad"): 20,
        ("s1", "happy"): 60,
        ("s2", "sad"): 5,
        ("s2", "happy"): 15,
    }.items():
        assert abs(counts[stratum] - wanted) <= 1
    assert draw_evenly(dict(reversed(strata.items())), 100, seed=1) == (drawn, left)
    assert draw_evenly(strata, 100, seed=2)[0] != drawn


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_a_draw_of_any_size(size):
    drawn, left = draw_evenly({str(i): i % 3 for i in range(10)}, size, seed=0)
    assert (len(set(drawn)), len(set(left))) == (size, 10 - size)

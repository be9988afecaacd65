"""Sets of a corpus: what they share is told, and written to a table; ids are unique within a set only."""

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.data.overlap import HEADER, compare_sets, shared_recordings, shared_speakers


@pytest.fixture
def make(tmp_path):
    """Makes dump/raw/<name> of id -> seed of its noise."""

    def make(name, seeds, speakers=None, emotion="sad", **audio):
        folder = tmp_path / name
        folder.mkdir()
        for utt, seed in seeds.items():
            noise = np.random.default_rng(seed).standard_normal(4000) * 0.1
            sf.write(folder / f"{utt}.wav", audio.get(utt, noise), 16000)
        write = {"wav.scp": f"{folder}/{{}}.wav", "utt2num_samples": "4000", "utt2emo": emotion}
        for file, value in write.items():
            (folder / file).write_text("".join(f"{utt} {value.format(utt)}\n" for utt in seeds))
        (folder / "utt2spk").write_text("".join(f"{utt} {(speakers or {}).get(utt, utt)}\n" for utt in seeds))
        return str(folder)

    return make


def test_recordings_are_compared_by_content(make):
    almost = np.random.default_rng(3).standard_normal(4000) * 0.1
    almost[10] += 0.01  # far from the middle, where the files are equal
    train = make("train", {"a": 1, "b": 2, "c": 3})
    test = make("test", {"a": 7, "x": 2, "y": 3}, y=almost)
    assert shared_recordings(train, test) == {"x": "b"}
    assert shared_recordings(test, train) == {"b": "x"}


def test_speakers_that_are_their_utterances_are_not_known(make):
    train, test = make("train", {"0": 1, "1": 2}), make("test", {"0": 3, "1": 4})
    assert shared_speakers(train, test) == []
    other = make("other", {"5": 5, "6": 6}, {"5": "s1", "6": "s2"})
    assert shared_speakers(other, make("more", {"8": 8}, {"8": "s1"})) == ["s1"]


def test_same_ids_in_each_set_are_a_note_and_the_same_recording_a_warning(make, tmp_path):
    """MELD: ids 0 to n in each set."""
    train = make("train", {"0": 1, "1": 2, "2": 3}, {"0": "s1", "1": "s2", "2": "s2"})
    valid = make("valid", {"0": 4, "1": 5}, {"0": "s2", "1": "s3"})
    test = make("test", {"0": 6, "1": 2}, {"0": "s9", "1": "s9"})
    lines = compare_sets(train, valid, [test], tmp_path / "overlap.tsv")
    assert lines == [
        "note: 2 ids of valid are in train too, for other recordings (0, 1): ids are told apart by set",
        f"note: 1 speakers of valid are in train too (s2); see {tmp_path}/overlap.tsv",
        "warning: 1 of 2 recordings of test are in train too (1 is 1); remove them from one of the sets; all are listed"
        f" in {tmp_path}/overlap.tsv",
        "note: 1 ids of test are in train too, for other recordings (0): ids are told apart by set",
        "note: 2 ids of test are in valid too, for other recordings (0, 1): ids are told apart by set",
    ]
    table = (tmp_path / "overlap.tsv").read_text()
    assert table.startswith(HEADER) and "recording\ttest\t1\ttrain\t1\n" in table
    assert "speaker\tvalid\ts2\ttrain\ts2\n" in table and table.count("\n") == 8


def test_a_set_of_several_roles_is_not_compared_with_itself(make, tmp_path):
    train, test = make("train", {"a": 1}), make("test", {"b": 2})
    assert compare_sets(train, test, [test], tmp_path / "t") == [
        "note: test is the validation set and a test set, and was formatted as a test set"
    ]
    assert (tmp_path / "t").read_text() == HEADER
    (line,) = compare_sets(train, train, [test], tmp_path / "t")
    assert line.startswith("warning: train is the training and the validation set")
    (line,) = compare_sets(train, test, [train], tmp_path / "t")
    assert line.startswith("warning: train is the training set and a test set")


def test_labels_that_are_spelt_otherwise_in_another_set(make, tmp_path):
    train, test = make("train", {"a": 1}, emotion="Sad"), make("test", {"b": 2})
    lines = compare_sets(train, test, [], tmp_path / "t")
    assert lines[0].startswith("warning: utt2emo: one label in several spellings: 'Sad' (train: 1), 'sad' (test: 1)")

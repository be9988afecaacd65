"""Labels in two spellings are noticed; an emotion map makes them one."""

import pytest

from espnet2_secap.data.labels import plain, read_classes, read_emotion_map, read_labels, spelling_warnings
from espnet2_secap.errors import SecError


@pytest.mark.parametrize("label", ["Happy", "HAPPY", "Ｈａｐｐｙ", "happy\u3000", "\u00a0hAppy"])
def test_spellings_of_one_label(label):
    assert plain(label) == plain("happy")
    (warning,) = spelling_warnings({"train": {"utt2emo": {"happy": 10, label: 2, "sad": 3}}})
    assert warning.startswith("utt2emo: one label in several spellings: ")
    assert "'happy' (train: 10)" in warning and f"{label!r} (train: 2)" in warning and "sad" not in warning
    assert "--emotion_map FILE" in warning


def test_other_labels_are_left_alone():
    assert spelling_warnings({"train": {"utt2emo": {"happy": 1, "sad": 1, "sadness": 1, "高兴": 1}}}) == []


def test_between_sets_what_differs_within_one_is_not_told_again():
    train, test = {"utt2emo": {"Happy": 5}, "utt2rate": {"fast": 1}}, {"utt2emo": {"happy": 2}, "utt2rate": {"Fast": 1}}
    emotion, rate = spelling_warnings({"train": train, "test": test})
    assert "'Happy' (train: 5), 'happy' (test: 2)" in emotion
    assert rate.startswith("utt2rate: ") and "correct them in data/" in rate
    both = {"utt2emo": {"Happy": 5, "happy": 1}}
    assert spelling_warnings({"train": both, "test": {"utt2emo": {"happy": 2}}}) == []


def test_speakers_and_numbers_are_no_labels(tmp_path):
    for name, content in {
        "utt2emo": "a sad\nb sad\n",
        "utt2spk": "a A\nb a\n",
        "utt2num_samples": "a 1\nb 2\n",
    }.items():
        (tmp_path / name).write_text(content)
    assert read_labels(tmp_path) == {"utt2emo": {"sad": 2}}


def test_an_emotion_map_is_read(tmp_path):
    path = tmp_path / "map"
    path.write_text("\ufeff# old new\nHappy happy\r\n\nneu\tneutral\n\u3000sad  sad\nhappy joy\n", encoding="utf-8")
    assert read_emotion_map(path) == {"Happy": "happy", "neu": "neutral", "\u3000sad": "sad", "happy": "joy"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Happy\n", "map:1: Happy: has no new label"),
        (b"a b\nvery happy joy\n", "map:2: very: has more than two labels"),
        (b"a b\na c\n", "map:2: a: is renamed twice"),
        (b"# nothing\n", "map: renames no label"),
        (b"a \xff\n", "map:1: is not UTF-8"),
        (None, "map: does not exist"),
    ],
)
def test_a_bad_emotion_map(tmp_path, content, said):
    if content is not None:
        (tmp_path / "map").write_bytes(content)
    with pytest.raises(SecError, match=said):
        read_emotion_map(tmp_path / "map")


def test_classes_of_utterances(tmp_path):
    (tmp_path / "utt2emo").write_text("a sad\nb calm\n")
    assert read_classes(tmp_path / "utt2emo", {"sad": "low"}) == {"a": "low", "b": "calm"}

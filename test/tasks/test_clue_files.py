import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.clue_files import clues_of_captions, clues_of_labels, corpora_table, statistics, words_table
from espnet2_secap.tasks.clues import clues_by


@pytest.fixture(scope="module")
def zh():
    return clues_by("zh")


def test_clues_of_all_captions_or_of_the_first(zh):
    captions = {"a": ["愤怒", "生气，语速快，愤怒"], "b": ["有人说话"]}
    assert clues_of_captions(captions, zh) == {"a": ["愤怒", "生气", "语速快"], "b": []}
    assert clues_of_captions(captions, zh, "first") == {"a": ["愤怒"], "b": []}


def test_statistics_by_hand(zh):
    found = statistics(zh(one) for one in ["愤怒，声音高亢", "愤怒，流畅", "有人说话", "生气，愤怒"])
    assert found["captions"] == 4 and found["clues"] == 6 / 4 and found["without"] == 1 / 4
    attributes = found["attributes"]
    assert list(attributes) == ["emotion", "pitch", "volume", "part of speech"]
    assert attributes["emotion"] == {"coverage": 3 / 4, "words": {"愤怒": 3, "生气": 1}}
    assert attributes["volume"] == attributes["pitch"] == {"coverage": 1 / 4, "words": {"声音高亢": 1}}
    assert attributes["part of speech"]["words"] == {"流畅": 1}
    text = corpora_table({"x": found, "y": statistics([])}).text()
    assert ["x", "4", "1.50", "25.0", "75.0", "25.0", "25.0", "25.0"] in [line.split() for line in text.splitlines()]
    assert ["y", "0", "0.00", *["0.0"] * 5] in [line.split() for line in text.splitlines()]
    assert "愤怒 3" in words_table(found, 1).text() and "生气" not in words_table(found, 1).text()


def test_labels(zh, tmp_path):
    (tmp_path / "utt2rate").write_text("u1 fast\nu2 很怪\n", encoding="utf-8")
    (tmp_path / "utt2emo_train").write_text("u1 angry\nu2 悲伤\nu3 calm\n", encoding="utf-8")
    clues, notes = clues_of_labels(tmp_path, zh)
    texts = {utt: [clue.text for clue in own] for utt, own in clues.items()}
    assert {utt: set(own) for utt, own in texts.items()} == {"u1": {"愤怒", "语速快"}, "u2": {"悲伤"}, "u3": {"平静"}}
    assert notes == [f"{tmp_path}/utt2rate: 1 of 2 labels name no category of rate (很怪) and give no clue"]
    (tmp_path / "utt2emo").write_text("u1 happy\n")
    assert set(clues_of_labels(tmp_path, zh)[0]) == {"u1", "u2"}, "utt2emo comes first"


def test_a_folder_without_labels(zh, tmp_path):
    with pytest.raises(SecError, match="has no labels that clues could be made of; expected one or more of utt2inten"):
        clues_of_labels(tmp_path, zh)

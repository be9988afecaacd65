import sys

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.text import taggers
from espnet2_secap.text.taggers import TAGGERS, tag_chinese, tag_english


def test_every_word_has_its_place_in_the_text():
    for tag, text in ((tag_chinese, "声音 颤抖，非常流畅"), (tag_english, "not happy at all, low-pitched: it's odd!")):
        found = list(tag(text))
        assert all(text.startswith(word, start) for start, word, _, _ in found)
        assert "".join(word for _, word, _, _ in found).replace(" ", "") == text.replace(" ", "")


def test_chinese():
    tags = {word: tag for _, word, _, tag in tag_chinese("声音高亢，非常流畅，泣不成声")}
    assert tags == {"声音": "n", "高亢": "a", "，": "x", "非常": "d", "流畅": "a", "泣不成声": "i"}


def test_english_with_lemmas():
    tags = {word: (lemma, tag) for _, word, lemma, tag in tag_english("she speaks slowly, in a louder and gentle tone")}
    assert tags["louder"] == ("loud", "AJC") and tags["gentle"] == ("gentle", "AJ0") and tags["slowly"][1] == "AV0"
    assert tags["tone"] == ("tone", "NN1") and tags[","][1] == "PUN"
    assert list(tag_english("")) == [] == list(tag_chinese(""))


@pytest.mark.parametrize("name, package", [("jieba", "jieba.posseg"), ("hanta", "HanTa.HanoverTagger")])
def test_a_missing_package_is_named(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    load = getattr(taggers, f"_{name}")
    load.cache_clear()
    with pytest.raises(SecError, match=f"needs the package {name}: pip install {name}"):
        list(TAGGERS[name]("语速 fast"))
    load.cache_clear()

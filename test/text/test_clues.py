import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.clues import clues_by
from espnet2_secap.text.clues import (
    Clue,
    clue_languages,
    parse_clues,
    read_clues,
    read_grammar,
    typed_clues,
    write_clues,
)


@pytest.fixture(scope="module")
def zh():
    return clues_by("zh")


@pytest.fixture(scope="module")
def en():
    return clues_by("en")


@pytest.mark.parametrize(
    "caption, clues",
    [
        ("语速较快，声音高亢，情绪中带着愤怒", ["语速较快", "声音高亢", "愤怒"]),
        ("没有愤怒，只有悲伤", ["悲伤"]),
        ("心情平静，不心急", ["平静", "不心急"]),  # 不心急 is calm
        ("语速十分快，十分高兴，非常高兴", ["语速十分快", "十分", "高兴", "非常"]),
        ("说得流畅，不清晰", ["流畅"]),  # an adjective, and one behind a negation
        ("带着哭腔，声音颤抖", ["哭腔", "颤抖"]),
        ("很好，也不大", []),  # words that are no clues
        ("他说了一句话", []),
        ("", []),
    ],
)
def test_chinese(zh, caption, clues):
    assert zh.texts(caption) == clues


@pytest.mark.parametrize(
    "caption, clues",
    [
        (
            "The speaker is ANGRY and\tslightly louder, with a complaint",
            ["angry", "slightly", "louder", "complaint"],
        ),
        ("A sad, low-pitched voice that is not happy", ["sad", "low-pitched", "not happy"]),
        ("She is not monotonous, but melodious and smoother", ["melodious", "smooth"]),  # lemma of a comparative
        ("It is also rather much", []),
        ("the sobriety of a man", []),
    ],
)
def test_english(en, caption, clues):
    assert en.texts(caption) == clues


def test_japanese_by_categories_alone():
    assert clues_by("ja").texts("とても嬉しそうな声") == ["とても", "嬉し"]


def test_a_clue_names_its_categories(zh):
    loud, sad = zh("声音高亢，悲伤")
    assert loud == Clue("声音高亢", (("volume", "loud"), ("pitch", "high"))) and sad.kinds == (("emotion", "sad"),)
    assert zh("流畅") == [Clue("流畅")]


def test_clues_that_stand_for_categories_and_labels(zh, en):
    assert zh.of_category("emotion", "angry").text == "愤怒" and zh.of_category("rate", "fast").text == "语速快"
    assert en.of_category("rate", "fast").text == "fast"  # of the grammar's names: the first word is "pace fast"
    found = zh.of_labels({"emotion": "angry", "volume": "音量很大", "rate": "???"})
    assert [clue.text for clue in found] == ["愤怒", "音量大"]
    with pytest.raises(KeyError):
        zh.of_labels({"age": "old"})


def test_the_prompt(zh, en):
    assert zh.prompt("语速较快，愤怒") == "情感线索：语速较快、愤怒。" and zh.prompt("他说话") == ""
    assert en.grammar.prompt_of(["sad", "slow"]) == "Feeling sad, slow."


def test_words_of_ones_own_give_the_categories(tmp_path):
    words = tmp_path / "words.json"
    words.write_text(json.dumps({"emotion": {"odd": ["古怪"]}, "_groups": {"emotion": {"two": {"o": ["odd"]}}}}))
    clues = clues_by("zh", str(words))
    assert clues("古怪，愤怒") == [Clue("古怪", (("emotion", "odd"),))]
    assert set(clues.attributes) == {"intensity", "emotion"}


def grammar(tmp_path, content) -> str:
    path = tmp_path / "g.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return str(path)


def test_a_file_extends_a_language(tmp_path):
    more = {"extends": "zh", "also": ["一句话"], "never": ["流畅"], "prompt": "<{clues}>", "separator": "/"}
    more |= {
        "attributes": {"age": {"old": ["苍老"]}, "intensity": {"weak": ["一点点"]}},
        "names": {"rate": {"fast": "快"}},
    }
    clues = clues_by(grammar(tmp_path, more))
    assert clues.prompt("说了一句话，流畅，苍老，一点点，十分") == "<一句话/苍老/一点点/十分>"
    assert clues("苍老")[0].kinds == (("age", "old"),) and clues.of_category("rate", "fast").text == "快"
    assert clues.of_category("rate", "slow").text == "语速慢"
    without = clues_by(grammar(tmp_path, {"extends": "zh", "tagger": None}))
    assert without.texts("流畅，愤怒") == ["愤怒"]


@pytest.mark.parametrize("language", clue_languages())
def test_the_grammars_of_the_package(language):
    clues = clues_by(language)
    assert clues.grammar.words == language
    for attribute, categories in clues.attributes.items():
        for category in categories:
            one = clues.of_category(attribute, category)
            assert (attribute, category) in [kind for found in clues(one.text) for kind in found.kinds], one


@pytest.mark.parametrize(
    "content, message",
    [
        ({"extends": "xx"}, r"g.json: extends: 'xx': no such language; choose from: en, ja, zh"),
        ({"extends": "zh", "tag": []}, "unknown key 'tag'; known: extends, words"),
        ({"extends": "zh", "tags": "a"}, "tags: 'a': must be a list of non-empty strings"),
        ({"extends": "zh", "also": [""]}, "also: .*: must be a list of non-empty strings"),
        ({"extends": "zh", "attributes": {"a": ["b"]}}, "attributes: .*: must be an object attribute -> category ->"),
        ({"extends": "zh", "prompt": "线索"}, "prompt: '线索': must hold {clues} once"),
        ({"extends": "zh", "tagger": "spacy"}, "tagger: 'spacy': must be null or one of jieba, hanta"),
        (
            {"extends": "zh", "names": {"rate": {"quick": "快"}}},
            "rate has no category 'quick'; it has fast",
        ),
        ({"extends": "zh", "words": "xx"}, "xx: no such words file"),
        ({"words": "zh"}, "'attributes' is missing; add it, or extend a language"),
        ([], "must be an object with the keys"),
        ("{", "is not JSON"),
        ('{"extends": "zh", "also": [], "also": []}', "the key 'also' occurs twice"),
    ],
)
def test_a_grammar_with_a_mistake(tmp_path, content, message):
    with pytest.raises(SecError, match=message) as told:
        clues_by(grammar(tmp_path, content))
    assert "\n" not in str(told.value)


def test_an_unknown_language():
    with pytest.raises(SecError, match="clue grammar fr: no such file or language; give a JSON file or one of: en, ja"):
        read_grammar("fr")


def test_a_clues_file(tmp_path):
    clues = {"b": ["愤怒", "语速快"], "a": []}
    write_clues(tmp_path / "clues", clues)
    assert (tmp_path / "clues").read_text(encoding="utf-8").splitlines() == ["a []", 'b ["愤怒", "语速快"]']
    assert read_clues(tmp_path / "clues") == clues
    for line, message in (("愤怒", "is not JSON"), ('["a", 1]', "is not a list of clues"), ('[" "]', "is not a list")):
        (tmp_path / "bad").write_text(f'u1 ["x"]\nu2 {line}\n', encoding="utf-8")
        with pytest.raises(SecError, match=f"bad:2: u2: {message}"):
            read_clues(tmp_path / "bad")
    assert parse_clues('["Sad ", "sad", "Ａ"]') == ["sad", "a"]


def test_clues_as_a_person_writes_them():
    assert typed_clues("愤怒，语速快、 Sad;sad,") == ["愤怒", "语速快", "sad"] and typed_clues(" ") == []


def test_usual_words():
    """Of ties the first by code point; 声音高亢 tells both volume and pitch, and so stands for neither."""
    captions = ["语速较快，愤怒", "语速较快，生气", "语速很快，声音高亢", "没有悲伤"]
    usual = clues_by("zh").usual_words(captions)
    assert usual == {"rate": {"fast": "语速较快"}, "emotion": {"angry": "愤怒"}}
    find = clues_by("zh", usual=usual)
    assert find.of_category("rate", "fast").text == "语速较快" != clues_by("zh").of_category("rate", "fast").text
    assert find.of_category("rate", "slow") == clues_by("zh").of_category("rate", "slow")

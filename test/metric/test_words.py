import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import WORDS_DIR, Categories, load_words, named, occurrences


@pytest.fixture(scope="module")
def zh():
    return load_words("zh")


@pytest.fixture(scope="module")
def en():
    return load_words("en")


@pytest.mark.parametrize(
    "caption, emotions",
    [
        ("语气里满是高兴", ["happy"]),
        ("听得出他很不高兴", ["angry"]),
        ("心生不满，有些不耐烦", ["angry"]),
        ("没有愤怒，只有悲伤", ["sad"]),
        ("又惊又喜的声音", ["happy", "surprised"]),
        ("先是平静，随后害怕", ["calm", "afraid"]),
        ("语速不快不慢", []),
        ("语速不快，声音不大", []),
        ("情绪不急躁", ["calm"]),
        ("他说了一句话", []),
        ("", []),
    ],
)
def test_chinese_emotions(zh, caption, emotions):
    assert named(caption, zh["emotion"]) == emotions


@pytest.mark.parametrize(
    "attribute, caption, categories",
    [
        ("rate", "语速较快，情绪激动", ["fast"]),
        ("rate", "语速十分缓慢", ["slow"]),
        ("rate", "语速不快不慢", ["normal"]),
        ("rate", "语速适中", ["normal"]),
        ("rate", "语速不快", []),
        ("rate", "心情愉快，语调轻快", []),
        ("volume", "声音很大", ["loud"]),
        ("volume", "说话声音有点小", ["quiet"]),
        ("volume", "音量适中", ["normal"]),
        ("volume", "声音不大", []),
        ("pitch", "语调非常高", ["high"]),
        ("pitch", "声音低沉", ["low"]),
    ],
)
def test_chinese_attributes(zh, attribute, caption, categories):
    assert named(caption, zh[attribute]) == categories


@pytest.mark.parametrize(
    "caption, emotions",
    [
        ("A HAPPY voice", ["happy"]),
        ("an unhappy voice, made for film", ["sad"]),
        ("not angry  but\tcalm", ["calm"]),
        ("a piano happy to play, many sad notes", ["happy", "sad"]),
        ("without any trace of joy", ["happy"]),  # only what stands right before the word negates it
        ("without any anger", []),
    ],
)
def test_english_emotions(en, caption, emotions):
    assert named(caption, en["emotion"]) == emotions


def test_english_attributes(en):
    caption = "spoken very quickly, in a loud voice of high pitch"
    assert [named(caption, en[name]) for name in ("rate", "volume", "pitch")] == [
        ["fast"],
        ["loud"],
        ["high"],
    ]


def test_named_takes_a_plain_dict_longest_first():
    categories = {"up": ["高兴"], "down": ["不高兴"]}
    assert named("不高兴", categories) == ["down"]
    assert named("高兴，不高兴", categories) == ["up", "down"]


@pytest.mark.parametrize("language", ["zh", "en", "ja"])
def test_a_word_is_in_two_categories_only_where_it_blends_them(language):
    blends = {"惊喜", "又惊又喜", "惊喜交加", "悲愤", "bittersweet", "pleasantly surprised"}
    for attribute, categories in load_words(language).items():
        places: dict[str, list[str]] = {}
        for category, words in categories.items():
            for word in set(words):
                places.setdefault(word, []).append(category)
        assert {word for word, found in places.items() if len(found) > 1} <= blends, attribute


@pytest.mark.parametrize("language", ["zh", "en", "ja"])
def test_languages_have_the_same_categories(language):
    ours, chinese = load_words(language), load_words("zh")
    assert {name: list(categories) for name, categories in ours.items()} == {
        name: list(categories) for name, categories in chinese.items()
    }
    assert {"happy", "angry", "sad", "calm", "surprised", "afraid"} <= set(ours["emotion"])


def test_most_real_captions_name_an_emotion(shared, zh):
    file = shared / "emospeech" / "dataset" / "fid2captions.json"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    captions = json.loads(file.read_text(encoding="utf-8"))
    without = [utt for utt, caption in captions.items() if not named(caption, zh["emotion"])]
    assert len(without) <= 0.1 * len(captions), without[:10]


def test_a_recipe_brings_its_own_file(tmp_path):
    file = tmp_path / "words.json"
    content = {
        "_lists": {"d": ["", "very "]},
        "_negations": ["no "],
        "mood": {"up": ["{d}glad"], "_not": ["glad tidings"]},
    }
    file.write_text(json.dumps(content))
    words = load_words(file)
    assert words == {"mood": {"up": ["glad", "very glad"]}}
    found = [named(text, words["mood"]) for text in ("very glad", "glad tidings", "no glad")]
    assert found == [["up"], [], []]


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ("{}", "names no attribute"),
        ('{"emotion": ["glad"]}', "emotion: must be an object"),
        ('{"emotion": {"happy": "glad"}}', "happy: must be a list"),
        ('{"emotion": {"happy": [""]}}', "happy: must be a list of non-empty"),
        ('{"emotion": {"happy": ["{nothing}glad"]}}', "no list 'nothing'"),
        ('{"_negations": "not", "emotion": {"happy": ["glad"]}}', "_negations: must be a list"),
        ('{"_lists": [], "a": {"b": ["c"]}}', "_lists: must be an object"),
        ('{"_lists": {"d": [""]}, "a": {"b": ["{d}"]}}', "{d}: with an empty entry"),
        ("[" * 99999, "not JSON"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    file = tmp_path / "words.json"
    file.write_text(content)
    with pytest.raises(SecError, match=message) as caught:
        load_words(file)
    assert str(file) in str(caught.value)


def test_braces_that_are_no_list_are_letters(tmp_path):
    (tmp_path / "words.json").write_text('{"_lists": {"d": ["", "very "]}, "a": {"b": ["{d}c{x y}d}"]}}')
    assert load_words(tmp_path / "words.json")["a"] == {"b": ["c{x y}d}", "very c{x y}d}"]}


def test_unknown_language_lists_the_known():
    with pytest.raises(SecError, match="one of: en, ja, zh"):
        load_words("tlh")


def test_words_come_with_the_package():
    assert {file.name for file in WORDS_DIR.glob("*.json")} == {"en.json", "ja.json", "zh.json"}


def test_the_longest_word_at_a_place_counts_whatever_the_order():
    categories = {"one": ["很"], "three": ["很高兴"], "two": ["很高"], "other": ["兴"]}
    for order in (1, -1):
        words = dict(list(categories.items())[::order])
        assert named("很高兴", words) == ["three"] and named("很高", words) == ["two"]
        assert named("很高，兴", words) == ["two", "other"] and named("很，很高兴", words) == ["one", "three"]


def test_a_word_in_latin_script_is_whole_and_beside_chinese_too():
    categories = Categories({"up": ["glad"], "down": ["sad"]}, hidden=["sad song"], negations=["not ", "不"])
    for text, found in [
        ("glad", ["up"]), ("gladly", []), ("unglad", []), ("很glad的", ["up"]), ("GLAD!", ["up"]), ("glad2", ["up"]),
        ("not glad", []), ("knot glad", ["up"]), ("不glad", []), ("sad song", []), ("sad songs", ["down"]),
        ("sad, glad, sad", ["down", "up"]), ("", []), ("not  sad", []), ("sadsad", []),
    ]:  # fmt: skip
        assert named(text, categories) == found, text


def test_words_are_found_in_any_width_and_unicode_form():
    words = Categories({"up": ["glad", "caf\u00e9"], "down": ["ＳＡＤ", "cliche\u0301"]}, negations=["ｎｏｔ "])
    for text, found in [("ｇｌａｄ", ["up"]), ("cafe\u0301", ["up"]), ("sad", ["down"]), ("clich\u00e9", ["down"]),
                        ("not glad", []), ("ｎｏｔ　ｇｌａｄ", [])]:  # fmt: skip
        assert named(text, words) == found, text


GROUPS = {
    "_groups": {"mood": {"sign": {"good": ["up", "odd"], "bad": ["down"]}, "two": {"any": ["up"]}}},
    "_negations": ["not "],
    "mood": {"up": ["glad"], "down": ["sad", "not amused"], "odd": ["amused", "sadly glad"], "_not": ["glad tidings"]},
}


def words_of(tmp_path, content):
    (tmp_path / "words.json").write_text(json.dumps(content))
    return load_words(tmp_path / "words.json")


def test_groups_join_categories(tmp_path):
    words = words_of(tmp_path, GROUPS)
    assert list(words) == ["mood", "mood_sign", "mood_two"]
    assert words["mood_sign"] == {"good": ["glad", "amused", "sadly glad"], "bad": ["sad", "not amused"]}
    for text, found in [("glad", ["good"]), ("sad, amused", ["bad", "good"]), ("not glad", []), ("glad tidings", []),
                        ("not amused", ["bad"]), ("sadly glad, glad", ["good"])]:  # fmt: skip
        assert named(text, words["mood_sign"]) == found, text
    # of the categories in no group the words still hide what they contain: "sadly glad" is not glad
    for text, found in [("glad", ["any"]), ("sadly glad", []), ("amused", []), ("not glad", [])]:
        assert named(text, words["mood_two"]) == found, text


def test_labels_of_categories_and_of_groups(tmp_path):
    words = words_of(tmp_path, GROUPS)
    for label, sign, two in [("up", ["good"], ["any"]), ("odd", ["good"], []), ("bad", ["bad"], []), ("glad", ["good"],
                             ["any"]), ("other", [], [])]:  # fmt: skip
        assert words["mood_sign"].of_label(label) == sign and words["mood_two"].of_label(label) == two


@pytest.mark.parametrize(
    "groups, message",
    [
        ([], "_groups: must be an object such as"),
        ({"mood": []}, "_groups: must be an object such as"),
        ({"weather": {}}, "_groups: the file has no attribute 'weather'; choose from: mood"),
        ({"mood": {"sign": []}}, "mood: sign: must be an object such as"),
        ({"mood": {"sign": {}}}, "mood: sign: must be an object such as"),
        ({"mood": {"sign": {"good": "up"}}}, "mood: sign: good: must be a list of categories of mood"),
        ({"mood": {"sign": {"good": []}}}, "mood: sign: good: must be a list of categories of mood"),
        ({"mood": {"sign": {"good": ["upp"]}}}, "good: 'upp' is not a category of mood; choose from: up, down, odd"),
        ({"mood": {"sign": {"good": [["up"]]}}}, "is not a category of mood"),
        ({"mood": {"sign": {"good": ["up"], "bad": ["up"]}}}, r"sign: 'up' is listed twice \(good and bad\); keep one"),
        ({"mood": {"sign": {"good": ["up", "up"]}}}, r"sign: 'up' is listed twice \(good\); keep one"),
    ],
)
def test_bad_groups_are_one_line(tmp_path, groups, message):
    with pytest.raises(SecError, match=message) as caught:
        words_of(tmp_path, GROUPS | {"_groups": groups})
    assert str(tmp_path / "words.json") in str(caught.value) and "\n" not in str(caught.value)


def test_a_group_that_has_the_name_of_an_attribute(tmp_path):
    with pytest.raises(SecError, match="the file has an attribute mood_sign already; rename one of them"):
        words_of(tmp_path, GROUPS | {"mood_sign": {"good": ["fine"]}})


@pytest.mark.parametrize("language", ["zh", "en", "ja"])
def test_every_emotion_is_in_one_quadrant(language):
    words = load_words(language)
    assert set(words["emotion_quadrant"].joined) == set(words["emotion"])
    assert set(words["emotion_quadrant"].joined.values()) == set(words["emotion_quadrant"])
    assert list(words["emotion_ser6"]) == ["happy", "angry", "sad", "afraid", "surprised", "neutral"]


def test_quadrants_of_captions(zh, en):
    for caption, quadrants in [("语气里满是高兴", ["positive_active"]), ("听得出他很不高兴", ["negative_active"]),
                               ("先悲后怒", ["negative_calm", "negative_active"]),
                               ("情绪平静", ["positive_calm"])]:  # fmt: skip
        assert named(caption, zh["emotion_quadrant"]) == quadrants
    assert named("not angry but calm and tender", en["emotion_quadrant"]) == ["positive_calm"]
    assert named("困惑，平静", zh["emotion_ser6"]) == ["neutral"]  # puzzled is in no group


def test_words_by_which_categories_are_named(zh, en):
    assert occurrences("没有愤怒，悲伤，又惊又喜，很悲伤", zh["emotion"]) == [
        ("悲伤", ["sad"]), ("又惊又喜", ["happy", "surprised"]), ("悲伤", ["sad"]),
    ]  # fmt: skip
    assert occurrences("An ＡＮＧＲＹ, not sad voice", en["emotion"]) == [("angry", ["angry"])]
    assert occurrences("语速不快", zh["rate"]) == []

import json
import math

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char
from espnet2_secap.metric.vad import read_vad
from espnet2_secap.metric.words import WORDS_DIR, load_words, word_languages


def score(references, hypotheses, lang="zh", **models):
    context = Context(segment_char, load_words(lang), models=models)
    return find_metric("emotion_similarity").make(context)(references, hypotheses)


def test_by_hand(tmp_path):
    """The farthest two are happy and sad: 2 apart; angry lies in between."""
    names = load_words("zh")["emotion"]
    points = {name: [0, 0, 0] for name in names} | {"happy": [1, 0, 0], "sad": [-1, 0, 0], "angry": [0, 1, 0]}
    (tmp_path / "vad.json").write_text(json.dumps(points))
    references = {"a": ["很高兴"], "b": ["悲伤"], "c": ["悲伤"], "d": ["语速快"], "e": ["愤怒"]}
    hypotheses = {"a": "很高兴", "b": "高兴", "c": "愤怒", "d": "高兴", "e": "语速快"}
    corpus, each = score(references, hypotheses, vad=str(tmp_path / "vad.json"))
    assert each["a"] == 100 and each["b"] == 0 and each["d"] is None and each["e"] == 0
    assert each["c"] == pytest.approx(100 * (1 - math.sqrt(2) / 2))
    assert corpus == pytest.approx((100 + 0 + each["c"] + 0) / 4)
    both = score({"a": ["悲伤"]}, {"a": "又高兴又悲伤"}, vad=str(tmp_path / "vad.json"))[0]
    assert both == pytest.approx(50)  # the mean of both is the middle


@pytest.mark.parametrize("lang", word_languages())
def test_ours_has_a_point_for_every_category(lang):
    assert set(load_words(lang)["emotion"]) <= set(read_vad())
    near, far = (score({"a": [text]}, {"a": "害怕"})[0] for text in ("紧张", "高兴"))
    assert near > 80 > 60 > far


def test_quadrants_and_points_agree():
    """Positive quadrants lie at positive valence, active ones at positive arousal, but for what is near the middle."""
    points = read_vad()
    quadrants = json.loads((WORDS_DIR / "zh.json").read_text(encoding="utf-8"))["_groups"]["emotion"]["quadrant"]
    for quadrant, names in quadrants.items():
        for name in names:
            assert (points[name][0] > 0) == quadrant.startswith("positive"), name
            assert (points[name][1] > 0) == quadrant.endswith("active") or abs(points[name][1]) < 0.2, name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"happy": [1, 0]}', "happy: must be valence, arousal, dominance"),
        ('{"happy": [2, 0, 0]}', "each from -1 to 1"),
        ('{"happy": "1 0 0"}', "happy: must be valence"),
        ("[1, 2, 3]", "must be valence"),
        ('{" ": [1, 0, 0]}', "a name is empty"),
        ("{", "vad.json"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, content, said):
    (tmp_path / "vad.json").write_text(content)
    with pytest.raises(SecError, match=said) as err:
        read_vad(tmp_path / "vad.json")
    assert "\n" not in str(err.value)


def test_a_file_changes_a_category_and_adds_words(tmp_path):
    plain = score({"a": ["愤怒"]}, {"a": "高兴"})[0]
    (tmp_path / "vad.json").write_text(
        json.dumps({"happy": [-0.5, 0.6, 0.2], "狂喜不已": [0.64, -0.6, -0.4], "高兴坏了": [0.64, -0.6, -0.4]})
    )
    file = str(tmp_path / "vad.json")
    near, words, both = (score({"a": ["愤怒"]}, {"a": text}, vad=file)[0] for text in ("高兴", "狂喜不已", "高兴坏了"))
    assert near > 95 > plain > words == both  # 高兴坏了 hides 高兴, which would be near
    assert score({"a": ["狂喜不已"]}, {"a": "高兴坏了"}, vad=file)[0] == pytest.approx(100)
    assert score({"a": ["愤怒"]}, {"a": "没有狂喜不已"}, vad=file)[0] == 0  # negated


def test_a_word_of_a_category_has_its_own_point(tmp_path):
    (tmp_path / "vad.json").write_text(json.dumps({"愤怒": [0.81, 0.51, 0.46]}))
    context = Context(
        segment_char, load_words("zh"), {"emotion": {"a": ["happy"]}}, {"vad": str(tmp_path / "vad.json")}
    )
    assert find_metric("emotion_similarity").make(context)({"a": ["x"]}, {"a": "愤怒"})[0] == pytest.approx(100)


def test_no_value_without_points(tmp_path):
    words = {"emotion": {"happy": ["x"], "odd": ["y"]}}
    (tmp_path / "words.json").write_text(json.dumps(words))
    with pytest.raises(MetricUnavailable, match="no point for odd; add it to a file and give --vad FILE"):
        score({"a": ["x"]}, {"a": "x"}, lang=str(tmp_path / "words.json"))
    (tmp_path / "vad.json").write_text('{"happy": [1, 0, 0], "odd": [1, 0, 0]}')
    with pytest.raises(MetricUnavailable, match="all emotions have the same point"):
        score({"a": ["x"]}, {"a": "x"}, lang=str(tmp_path / "words.json"), vad=str(tmp_path / "vad.json"))

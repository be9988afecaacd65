import pytest

from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.recall import hallucination, recall
from espnet2_secap.metric.segment import segment_char
from espnet2_secap.metric.words import load_words

WORDS = load_words("zh")


def test_recall_by_hand_from_the_references():
    references = {"a": ["悲伤又愤怒", "很难过"], "b": ["语气平静"], "c": ["声音有点远"]}
    hypotheses = {"a": "生气，害怕", "b": "平静", "c": "高兴"}
    corpus, each = recall("emotion")(Context(segment_char, WORDS))(references, hypotheses)
    # a: sad and angry are true, angry is named; c: nothing is known, so it is left out
    assert each == {"a": 50, "b": 100, "c": None} and corpus == 75


def test_hallucination_by_hand():
    references = {"a": ["悲伤又愤怒"], "b": ["语气平静"], "c": ["声音有点远"]}
    hypotheses = {"a": "生气，害怕", "b": "平静", "c": "高兴"}
    corpus, each = hallucination("emotion")(Context(segment_char, WORDS))(references, hypotheses)
    # a: nobody says afraid; b: calm is true; c: nothing is known
    assert each == {"a": 100, "b": 0, "c": None} and corpus == 50


def test_known_truth_comes_before_the_references():
    context = Context(segment_char, WORDS, {"rate": {"a": ["fast"], "b": ["slow"]}})
    references, hypotheses = {"a": ["语速慢"], "b": ["高兴"]}, {"a": "语速慢", "b": "语速很慢"}
    assert recall("rate")(context)(references, hypotheses) == (50, {"a": 0, "b": 100})


def test_negation_is_not_the_emotion():
    context = Context(segment_char, WORDS, {"emotion": {"a": ["happy"]}})
    assert recall("emotion")(context)({"a": ["高兴"]}, {"a": "不高兴"})[0] == 0


def test_empty_caption_names_nothing():
    context = Context(segment_char, WORDS)
    assert recall("emotion")(context)({"a": ["高兴"]}, {"a": ""}) == (0, {"a": 0})


def test_no_truth_at_all_is_not_a_score():
    with pytest.raises(MetricUnavailable, match="no reference names its volume"):
        recall("volume")(Context(segment_char, WORDS))({"a": ["高兴"]}, {"a": "声音大"})


def test_attribute_without_words_is_not_a_score():
    with pytest.raises(MetricUnavailable, match="no attribute 'weather'"):
        recall("weather")(Context(segment_char, WORDS))

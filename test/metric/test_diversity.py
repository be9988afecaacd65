from espnet2_secap.metric.abs_metric import Context
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char

HYPOTHESES = {"a": "很高兴", "b": "很 高兴", "c": "高高兴兴", "d": ""}


def score(name):
    return find_metric(name).make(Context(segment_char))({}, HYPOTHESES)


def test_distinct_by_hand():
    corpus, each = score("distinct_1")
    assert corpus == 100 * 3 / 10 * 3 / 4  # 很 高 兴 among 3 + 3 + 4; three of four captions say something
    assert each == {"a": 100, "b": 100, "c": 50, "d": None}
    corpus, each = score("distinct_2")
    assert corpus == 100 * 4 / 7 * 3 / 4  # 很高 高兴 高高 兴兴 among 2 + 2 + 3
    assert each["c"] == 100


def test_different_captions():
    assert score("different_captions")[0] == 50, "a and b differ in a blank only, and d says nothing"


def test_nothing_said_at_all():
    assert find_metric("distinct_2").make(Context(segment_char))({}, {"a": ""}) == (0.0, {"a": None})


def test_vocabulary_is_a_count():
    corpus, each = find_metric("vocabulary").make(Context(segment_char))({}, {"a": "高高兴", "b": "兴", "c": ""})
    assert corpus == 2 and each == {"a": 2, "b": 1, "c": 0}


def test_vocabulary_of_references_is_what_one_of_each_has():
    references = {"a": ["高", "高兴", "很高兴"], "b": ["兴"]}
    score = find_metric("vocabulary_references").make(Context(segment_char))
    corpus, each = score(references, {"a": "", "b": ""})
    assert corpus == 1 + 1 + 1 / 3  # 高 in all of a's, 兴 in b's, 很 in one of a's three
    assert each == {"a": 2, "b": 1}

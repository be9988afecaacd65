import numpy as np
import pytest

from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.accuracy import accuracy, accuracy_sums, true_category
from espnet2_secap.metric.classes import confusion, unweighted_accuracy, weighted_accuracy
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char
from espnet2_secap.metric.words import load_words

WORDS = load_words("zh")
CONTEXT = Context(segment_char, WORDS)


def test_unweighted_accuracy_by_hand():
    """Of three angry ones two are right, of one calm one none: (2 / 3 + 0) / 2, where 2 of 4 are right."""
    references = {"a": ["愤怒"], "b": ["很生气"], "c": ["恼火"], "d": ["语气平静"], "e": ["声音有点远"]}
    hypotheses = {"a": "生气", "b": "先是愤怒，后来悲伤", "c": "悲伤又愤怒", "d": "", "e": "愤怒"}
    corpus, each = accuracy("emotion")(CONTEXT)(references, hypotheses)
    assert each == {"a": 100, "b": 100, "c": 0, "d": 0, "e": None}
    assert corpus == pytest.approx(100 / 3)


def test_weighted_accuracy_by_hand():
    references = {"a": ["愤怒"], "b": ["很生气"], "c": ["恼火"], "d": ["语气平静"], "e": ["声音有点远"]}
    hypotheses = {"a": "生气", "b": "先是愤怒，后来悲伤", "c": "悲伤又愤怒", "d": "", "e": "愤怒"}
    corpus, each = find_metric("emotion_wa").make(CONTEXT)(references, hypotheses)
    assert each == {"a": 100, "b": 100, "c": 0, "d": 0, "e": None} and corpus == 50


def test_both_are_those_of_two_lists_of_labels():
    """sec_classify counts a SER model's labels by classes.py: a caption's category must count the same."""
    true = ["angry", "angry", "angry", "calm", "sad", "happy"]
    said = ["angry", "sad", None, "calm", "sad", "angry"]
    texts = {"angry": "愤怒", "calm": "平静", "sad": "悲伤", "happy": "高兴", None: "声音有点远"}
    references, hypotheses = ({str(i): texts[one] for i, one in enumerate(some)} for some in (true, said))
    references, table = {utt: [text] for utt, text in references.items()}, confusion(true, said)
    values = [find_metric(name).make(CONTEXT)(references, hypotheses)[0] for name in ("emotion_accuracy", "emotion_wa")]
    assert values == [pytest.approx(100 * unweighted_accuracy(table)), pytest.approx(100 * weighted_accuracy(table))]


def test_quadrants_join_emotions():
    references = {"a": ["愤怒"], "b": ["兴奋"]}
    corpus, each = accuracy("emotion_quadrant")(CONTEXT)(references, {"a": "焦急", "b": "平静"})
    assert (corpus, each) == (50, {"a": 100, "b": 0})  # anxious is negative and active as angry is; calm is not active


@pytest.mark.parametrize(
    "captions, true",
    [
        (["悲伤", "愤怒又悲伤"], "sad"),  # two name sad, one angry
        (["愤怒又悲伤", "悲伤又愤怒"], "angry"),  # two each: the first
        (["悲伤", "悲伤，很难过", "愤怒", "生气", "气愤"], "angry"),  # twice in one caption counts once
        (["声音有点远"], None),
    ],
)
def test_the_truth_is_what_most_references_name(captions, true):
    assert true_category("emotion", CONTEXT, "a", {"a": captions}) == true


def test_known_truth_comes_before_the_references():
    context = Context(segment_char, WORDS, {"rate": {"a": ["fast"], "b": []}})
    references, hypotheses = {"a": ["语速慢"], "b": ["语速慢"]}, {"a": "语速慢", "b": "语速慢"}
    assert accuracy("rate")(context)(references, hypotheses) == (0, {"a": 0, "b": None})


def test_sums_of_a_set_that_holds_an_utterance_twice():
    """a a b: angry is right twice of twice, sad not at all; of b b angry is not there, so only sad counts."""
    sums = accuracy_sums("emotion")
    rows = sums.numbers(CONTEXT, {"a": ["愤怒"], "b": ["悲伤"]}, {"a": "生气", "b": "高兴"})
    numbers = np.array([rows["a"], rows["b"]])
    assert sums.value(2 * numbers[0] + numbers[1]) == 50 and sums.value(2 * numbers[1]) == 0
    assert np.isnan(sums.value(0 * numbers[0]))
    assert sums.value(np.array([[2 * numbers[0]], [numbers.sum(0)]])).tolist() == [[100], [50]]


def test_no_truth_at_all_and_an_attribute_without_words_are_no_score():
    with pytest.raises(MetricUnavailable, match="no reference names its volume"):
        accuracy("volume")(CONTEXT)({"a": ["高兴"]}, {"a": "声音大"})
    with pytest.raises(MetricUnavailable, match="no attribute 'weather'"):
        accuracy("weather")(CONTEXT)

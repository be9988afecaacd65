import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.hallucination import Checked, listed
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char
from espnet2_secap.metric.words import load_words

WORDS = {language: load_words(language) for language in ("zh", "en", "ja")}
REFERENCES = {
    "zh": {"a": ["语速很快，生气", "声音很大"], "b": ["语气平静"], "c": ["她说了一句话"]},
    "en": {"a": ["She is angry and speaks fast", "loud"], "b": ["A calm voice"], "c": ["She says something"]},
    "ja": {"a": ["早口で怒っている", "大声"], "b": ["落ち着いた声"], "c": ["何かを話している"]},
}
# a: wrong emotion and rate, right volume, of four attributes three named; b: right emotion, and a rate of which nothing
# is known; c: nothing is known, one attribute is named
BAD = {
    "zh": {"a": "悲伤，语速缓慢，声音很大", "b": "平静，语速很快", "c": "高兴"},
    "en": {"a": "sad, slow and loud", "b": "calm and fast", "c": "happy"},
    "ja": {"a": "悲しそうに、ゆっくり、大声で", "b": "落ち着いた早口", "c": "嬉しそう"},
}
GOOD = {
    "zh": {"a": "愤怒，语速较快", "b": "平静", "c": "声音很轻"},
    "en": {"a": "angry and fast", "b": "calm", "c": "quiet"},
    "ja": {"a": "怒って早口", "b": "落ち着いた声", "c": "小さな声"},
}


def value(name, hypotheses, language="zh", **more):
    references = more.pop("references", REFERENCES[language])
    context = Context(segment_char, WORDS[language], **more)
    return find_metric(name).make(context)(references, hypotheses)


@pytest.mark.parametrize("language", WORDS)
def test_factuality_coverage_and_share_by_hand(language):
    bad, good = BAD[language], GOOD[language]
    assert value("hallucination_factuality", bad, language) == (50, {"a": 100, "b": 0, "c": None})
    assert value("hallucination_factuality", good, language) == (0, {"a": 0, "b": 0, "c": None})
    assert value("coverage", bad, language) == (50, {"a": 75, "b": 50, "c": 25})
    assert value("coverage", good, language)[1] == {"a": 50, "b": 25, "c": 25}
    # a: 2 of 3 that are known, b: 0 of 1, c: none is known
    assert value("wrong_share", bad, language) == (50, {"a": pytest.approx(200 / 3), "b": 0, "c": None})
    assert value("wrong_share", good, language)[0] == 0


def test_one_attribute_and_any_other_of_the_words_file():
    bad = BAD["zh"]
    assert value("emotion_hallucination_factuality", bad) == (50, {"a": 100, "b": 0, "c": None})
    assert value("volume_hallucination_factuality", bad) == (0, {"a": 0, "b": None, "c": None})
    assert value("rate_coverage", bad)[1] == {"a": 100, "b": 100, "c": 0}
    near = {"a": "厌恶", "b": "平静", "c": ""}  # disgusted is not angry, but active and negative as well
    assert value("emotion_hallucination_factuality", near)[1]["a"] == 100
    assert value("emotion_quadrant_hallucination_factuality", near)[1]["a"] == 0


def test_truth_and_every_reference_must_contradict():
    truth = {"emotion": {"a": ["sad"], "b": [], "c": ["happy"]}}
    assert value("hallucination_factuality", BAD["zh"], truth=truth)[1] == {"a": 100, "b": 0, "c": 0}  # a: its rate
    assert value("emotion_hallucination_factuality", BAD["zh"], truth=truth)[1] == {"a": 0, "b": 0, "c": 0}
    # <attribute>_hallucination judges by the label alone: b is unknown, and what the references of a say is wrong
    angry = GOOD["zh"]
    assert value("emotion_hallucination", angry, truth=truth)[1]["a"] == 100
    assert value("emotion_hallucination_factuality", angry, truth=truth)[1]["a"] == 0


def test_only_the_attributes_that_are_asked_for():
    volume = value("hallucination_factuality", BAD["zh"], attributes=("volume", "pitch"))
    assert volume == (0, {"a": 0, "b": None, "c": None})
    assert value("coverage", BAD["zh"], attributes=("volume", "pitch"))[1] == {"a": 50, "b": 0, "c": 0}


def test_an_empty_caption_is_not_factually_wrong_but_unfaithful():
    silent = dict.fromkeys("abc", "")
    assert value("hallucination_factuality", silent)[0] == 0 == value("coverage", silent)[0]
    assert value("hallucination_faithfulness", silent)[0] == 100
    assert value("hallucination_faithfulness_empty", silent)[0] == 100
    assert value("hallucination_faithfulness_attributes", silent)[0] == 0  # it is told once
    with pytest.raises(MetricUnavailable, match="no caption names"):
        value("wrong_share", silent)


@pytest.mark.parametrize(
    "language, captions",
    [
        ("zh", {"a": "你动我的电脑了", "b": "平静", "c": "请描述说话人的情感"}),
        ("en", {"a": "you broke my old computer", "b": "calm", "c": "describe the emotion of the speaker"}),
        ("ja", {"a": "私の時計に触った", "b": "落ち着いた", "c": "話者の感情を述べて"}),
    ],
)
def test_faithfulness_by_hand(language, captions):
    spoken = {"zh": "谁说你动我的电脑了", "en": "You broke my old computer", "ja": "君が私の時計に触った"}[language]
    asked = {"zh": "请描述说话人的情感", "en": "Describe the emotion of the speaker", "ja": "話者の感情を述べて"}[
        language
    ]
    more = {"transcripts": {"a": spoken, "b": "x", "c": "y"}, "instructions": [asked]}
    each = {"a": 100, "b": 0, "c": 100}
    assert value("hallucination_faithfulness", captions, language, **more) == (pytest.approx(200 / 3), each)
    assert value("hallucination_faithfulness_transcription", captions, language, **more)[1] == {
        "a": 100,
        "b": 0,
        "c": 0,
    }
    assert value("hallucination_faithfulness_instruction", captions, language, **more)[1] == {"a": 0, "b": 0, "c": 100}
    assert value("hallucination_faithfulness_attributes", captions, language, **more)[1] == each
    assert value("hallucination_faithfulness", GOOD[language], language, **more)[0] == 0


def test_what_cannot_be_judged_is_told():
    context = Context(segment_char, {}, transcripts={"a": "x"})
    corpus, _ = find_metric("hallucination_faithfulness").make(context)(REFERENCES["zh"], GOOD["zh"])
    assert corpus == 0 and context.notes == [
        "hallucination_faithfulness: attributes is not judged: the words file has none of emotion, rate, volume, pitch",
        "hallucination_faithfulness: no transcription of 2 of 3 utterances (b, c): not judged there",
    ]
    for name, message in {
        "hallucination_faithfulness_attributes": "cannot be judged: the words file has none",
        "hallucination_factuality": "the words file has none of the attributes emotion, rate",
        "coverage": "the words file has none",
        "wrong_share": "the words file has none",
    }.items():
        with pytest.raises(MetricUnavailable, match=message):
            find_metric(name).make(Context(segment_char, {}))
    with pytest.raises(MetricUnavailable, match="no transcriptions are given"):
        find_metric("hallucination_faithfulness_transcription").make(Context(segment_char, WORDS["zh"]))
    with pytest.raises(MetricUnavailable, match="no reference names its emotion or rate or volume or pitch"):
        value("hallucination_factuality", {"c": "高兴"}, references={"c": ["她说话"]})
    with pytest.raises(SecError, match="no metric 'hallucination_faithful'"):
        find_metric("hallucination_faithful")


def test_lines_name_the_word_and_what_it_is_against():
    context = Context(segment_char, WORDS["zh"], {"emotion": {"a": ["angry"], "b": ["calm"], "c": ["happy"]}})
    first, second = {"a": "又惊又喜，愤怒", "b": "平静", "c": "她说了话"}, {"a": "愤怒", "b": "", "c": "高兴"}
    assert listed(context, REFERENCES["zh"], [first, second]) == [
        {
            "id": "a", "candidate": 1, "kind": "factuality", "what": "emotion", "word": "又惊又喜", "names": one,
            "against": ["angry"],
        }
        for one in ("happy", "surprised")
    ] + [
        {"id": "b", "candidate": 2, "kind": "faithfulness", "what": "empty", "word": ""},
        {"id": "c", "candidate": 1, "kind": "faithfulness", "what": "attributes", "word": ""},
    ]  # fmt: skip


def test_training_captions_say_what_captions_look_like():
    long = "语速很快，" + "她" * 30
    references = {"a": ["语速很快"], "b": ["语速缓慢"]}
    own = {"a": long, "b": "语速缓慢"}
    assert value("hallucination_faithfulness_length", own, references=references)[1] == {"a": 100, "b": 0}
    for train in ([long], {"a": [long], "b": [long]}):
        assert value("hallucination_faithfulness_length", own, references=references, train=train)[0] == 0


def test_a_caption_is_checked_against_its_own_utterance():
    check = Checked(Context(segment_char, WORDS["zh"]), REFERENCES["zh"])
    assert [len(check.of(utt, "愤怒")) for utt in "aba"] == [0, 1, 0]

import pytest

from espnet2_secap.metric.facts import asked, caption_facts, known_facts
from espnet2_secap.metric.words import load_words

ZH, EN, JA = map(load_words, ("zh", "en", "ja"))
# Truth: angry (label). References: fast and loud; nobody says anything of the pitch.
ZH_SAID, EN_SAID, JA_SAID = (
    ["语速很快，生气", "语速较快，声音很大"],
    ["she speaks fast and angry", "loud"],
    ["早口で怒っている", "大声"],
)
SAD_SLOW = {"emotion": ["sad"], "rate": ["slow"]}
CASES = [
    (ZH, ZH_SAID, "情绪愤怒，语速很快", {}, 2),
    (ZH, ZH_SAID, "情绪悲伤，语速缓慢，声音很大", SAD_SLOW, 3),
    (ZH, ZH_SAID, "音调很高", {}, 1),
    (ZH, ZH_SAID, "没有悲伤", {}, 0),
    (EN, EN_SAID, "a sad and angry, quiet voice", {"emotion": ["sad"], "volume": ["quiet"]}, 2),
    (EN, EN_SAID, "angry, loud, fast", {}, 3),
    (JA, JA_SAID, "悲しそうに、ゆっくり話す", SAD_SLOW, 2),
    (JA, JA_SAID, "怒って早口", {}, 2),
]


@pytest.mark.parametrize("words, references, caption, wrong, coverage", CASES)
def test_wrong_and_covered_by_hand(words, references, caption, wrong, coverage):
    facts = caption_facts(caption, known_facts(references, {"emotion": ["angry"]}, words), words)
    assert (facts.wrong, facts.errors, facts.coverage) == (wrong, len(wrong), coverage)


def test_what_truth_or_any_reference_says_is_not_wrong():
    known = known_facts(["高兴", "平静"], {"emotion": ["sad"]}, ZH)
    assert known == {"emotion": {"happy", "calm", "sad"}, "rate": set(), "volume": set(), "pitch": set()}
    assert caption_facts("又高兴又平静又悲伤", known, ZH).errors == 0
    assert caption_facts("又高兴又愤怒", known, ZH).wrong == {"emotion": ["angry"]}


def test_without_references_the_labels_decide():
    known = known_facts([], {"emotion": ["sad"], "rate": ["slow"]}, ZH)
    assert caption_facts("高兴，语速慢，声音很大", known, ZH).wrong == {"emotion": ["happy"]}


def test_only_attributes_that_have_words_are_judged():
    words = {"emotion": ZH["emotion"], "emotion_quadrant": ZH["emotion_quadrant"]}
    assert asked(words) == ["emotion"] and list(known_facts(["高兴"], {}, words)) == ["emotion"]
    assert list(known_facts(["高兴"], {}, words, ["emotion_quadrant"])) == ["emotion_quadrant"]


def test_ranking_prefers_fewer_errors_then_more_coverage():
    known = known_facts(["高兴，语速很快，声音很大"], {}, ZH)
    captions = ["悲伤，语速缓慢", "高兴", "悲伤", "高兴，语速很快", "", "高兴，语速缓慢，声音很大"]
    ranked = sorted(captions, key=lambda one: caption_facts(one, known, ZH).rank)
    assert ranked == ["高兴，语速很快", "高兴", "", "高兴，语速缓慢，声音很大", "悲伤", "悲伤，语速缓慢"]

"""Each rule, and what is drawn."""

import random

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.ranking import Known, Ranking
from espnet2_secap.metric.rule_pairs import RULES, Corpus, Place, check_rules, cut, double, other, rule_pairs, swap
from espnet2_secap.metric.words import Categories, named

WORDS = {
    "emotion": Categories({"angry": ["愤怒", "angry"], "sad": ["悲伤", "sad"], "happy": ["高兴", "happy"]}),
    "rate": Categories({"fast": ["语速较快", "说得很快"], "slow": ["语速较慢", "缓慢"], "even": ["语速适中"]}),
}
CAPTIONS = {
    "u1": ["情绪愤怒，语速较快"],
    "u2": ["情绪悲伤，语速较慢"],
    "u3": ["情绪愤怒，说得很快"],
    "u4": ["情绪高兴"],
}
EMOTION = {"u1": "angry", "u2": "sad", "u3": "angry", "u4": "happy"}


def known(utt: str) -> Known:
    return Known(CAPTIONS[utt], {"emotion": [EMOTION[utt]]}, f"今天{utt}", "请描述情感。")


@pytest.fixture
def corpus():
    return Corpus(CAPTIONS, known, Ranking(WORDS))


def place(corpus, chosen="情绪愤怒，语速较快", utt="u1", seed=0, facts=None) -> Place:
    return Place(utt, chosen, facts or known(utt), corpus, random.Random(seed))


def test_a_swap_names_one_other_category_and_nothing_else_changes(corpus):
    found = {swap(place(corpus, seed=seed)) for seed in range(40)}
    # 语速较慢 is the slow word of the captions, and 语速适中 that of the words file, which no caption has
    assert found == {
        "情绪悲伤，语速较快",
        "情绪高兴，语速较快",
        "情绪愤怒，语速较慢",
        "情绪愤怒，语速适中",
    }


def test_the_word_most_like_the_old_one_is_put(corpus):
    CAPTIONS["u5"], EMOTION["u5"] = ["说得缓慢"], "sad"
    try:
        own = Corpus(CAPTIONS, known, Ranking({"rate": WORDS["rate"]}))
        found = {swap(place(own, seed=seed)) for seed in range(20)}
    finally:
        del CAPTIONS["u5"], EMOTION["u5"]
    assert found == {"情绪愤怒，语速较慢", "情绪愤怒，语速适中"}  # never 缓慢


def test_a_category_that_a_reference_names_is_not_wrong(corpus):
    facts = Known(["情绪悲伤"], {"emotion": ["angry"]}, "", "")
    emotions = {
        named(swap(place(corpus, "情绪愤怒", seed=seed, facts=facts)), WORDS["emotion"])[0] for seed in range(9)
    }
    assert emotions == {"happy"}


def test_a_caption_that_names_nothing_right_is_not_swapped(corpus):
    assert swap(place(corpus, "他在说话")) is None
    assert swap(place(corpus, "情绪悲伤")) is None  # wrong already


def test_words_in_latin_script_keep_their_capital_and_their_bounds(corpus):
    words = {"emotion": WORDS["emotion"]}
    own = Corpus({"u1": ["Angry"], "u2": ["sad"]}, known, Ranking(words))
    facts = Known([], {"emotion": ["angry"]})
    found = {swap(place(own, "Angry, not angrily", facts=facts, seed=seed)) for seed in range(9)}
    assert found <= {"Sad, not angrily", "Happy, not angrily", "高兴, not angrily"} and "Sad, not angrily" in found


def test_another_utterances_caption_has_another_emotion(corpus):
    found = {other(place(corpus, seed=seed)) for seed in range(40)}
    assert found == {"情绪悲伤，语速较慢", "情绪高兴"}
    assert other(Place("u1", "x", Known(), Corpus({"u1": ["x"]}, known, Ranking(WORDS)), random.Random(0))) is None


def test_a_cut_ends_between_two_letters_of_a_clause(corpus):
    text = "情绪愤怒，语速较快"  # 9 characters: a cut after 3 to 6 of them, not beside the comma
    assert {cut(place(corpus, text, seed=seed)) for seed in range(60)} == {text[:3], text[:6]}
    assert cut(place(corpus, "怒")) is None


@pytest.mark.parametrize(
    ("text", "twice"),
    [("愤怒", "愤怒，愤怒"), ("愤怒。", "愤怒。愤怒。"), ("Angry", "Angry, Angry"), ("Angry.", "Angry. Angry.")],
)
def test_double(corpus, text, twice):
    assert double(place(corpus, text)) == twice


def test_pairs_of_an_utterance(corpus):
    pairs = rule_pairs("u1", CAPTIONS["u1"], corpus, list(RULES), 6, 0)
    assert len(pairs) == 6 and {pair.type for pair in pairs} == {"factuality", "faithfulness"}
    for pair in pairs:
        assert (pair.id, pair.prompt, pair.chosen) == ("u1", "请描述情感。", "情绪愤怒，语速较快")
        assert (pair.source, pair.margin) == ("rule", 0.0) and pair.rejected != pair.chosen
    rejected = {pair.rejected for pair in pairs}
    assert {"今天u1", "请描述情感。", "情绪愤怒，语速较快，情绪愤怒，语速较快"} < rejected


def test_draws_depend_on_seed_and_id_alone(corpus):
    first = rule_pairs("u1", CAPTIONS["u1"], corpus, list(RULES), 2, 0)
    rule_pairs("u2", CAPTIONS["u2"], corpus, list(RULES), 2, 0)
    assert rule_pairs("u1", CAPTIONS["u1"], Corpus(CAPTIONS, known, Ranking(WORDS)), list(RULES), 2, 0) == first
    seeds = {
        tuple(pair.rejected for pair in rule_pairs("u1", CAPTIONS["u1"], corpus, list(RULES), 2, seed))
        for seed in range(8)
    }
    assert len(first) == 2 and len(seeds) > 3


def test_no_good_caption_no_pair(corpus):
    assert rule_pairs("u1", [], corpus, list(RULES), 2, 0) == []


def test_names_of_rules():
    assert check_rules(["all"]) == list(RULES) and check_rules(["cut", "swap", "cut"]) == ["cut", "swap"]
    with pytest.raises(SecError, match="--rules shuffle: must be some of swap, other, transcript"):
        check_rules(["shuffle"])

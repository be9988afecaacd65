"""Ranking of candidates, worked out by hand."""

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.dice import ngrams, similarity
from espnet2_secap.metric.faithfulness import HumanCaptions
from espnet2_secap.metric.judge import closeness
from espnet2_secap.metric.ranking import Known, Ranking, judge_matrices, judge_similarity, ngram_similarity
from espnet2_secap.metric.words import Categories

WORDS = {
    "emotion": Categories({"angry": ["愤怒"], "sad": ["悲伤"], "happy": ["高兴"]}),
    "rate": Categories({"fast": ["快"], "slow": ["慢"]}),
}
TRUTH = {"emotion": ["angry"], "rate": ["fast"]}
RIGHT, PART, WRONG, WORSE, MUTE = "愤怒，快", "愤怒", "悲伤，快", "悲伤，慢", "有人说话"


def order(texts, known=None, **options) -> list[str]:
    known = known or Known(truth=TRUTH)
    return [one.text for one in Ranking(WORDS, **options).rank([(texts, known)])[0]]


def test_errors_then_coverage():
    found = Ranking(WORDS).rank([([WORSE, MUTE, PART, WRONG, RIGHT], Known(truth=TRUTH))])[0]
    assert [one.text for one in found] == [RIGHT, PART, WRONG, MUTE, WORSE]
    # errors, coverage; MUTE names nothing, which is one error, so that WRONG with its coverage of 2 is before it
    assert [(one.errors, one.coverage) for one in found] == [(0, 2), (0, 1), (1, 2), (1, 0), (2, 2)]
    assert found[2].wrong == {"emotion": ["sad"]} and found[3].unfaithful and not found[4].unfaithful


def test_the_score_by_hand():
    references = ["愤怒，快"]
    first, second = Ranking(WORDS).rank([(["愤怒", "悲伤，快"], Known(references, TRUTH))])[0]
    # K = 2. 愤怒: no error, coverage 1; 3 of its n-grams (愤, 怒, 愤怒) are in the reference, which has 4 + 3 + 2 + 1
    assert first.similarity == pytest.approx(2 * 3 / (3 + 10))
    assert first.score == pytest.approx((1 + 6 / 13) / 3)
    # 悲伤，快: one error, coverage 2; ，, 快 and ，快 are shared: 2 * 3 / (10 + 10)
    assert second.score == pytest.approx(-1 + (2 + 6 / 20) / 3)


def test_similarity_decides_among_equals_and_never_outweighs_coverage():
    known = Known(["说话人愤怒地说"], TRUTH)
    assert order(["愤怒", "说话人愤怒", "愤怒，快"], known) == ["愤怒，快", "说话人愤怒", "愤怒"]


def test_without_references_the_others_decide_and_repeats_count():
    texts = ["愤怒啊，快", "愤怒，快", "愤怒，快", "愤怒，快！"]
    found = Ranking(WORDS).rank([(texts, Known(truth=TRUTH))])[0]
    assert [one.text for one in found] == ["愤怒，快", "愤怒啊，快"]  # those alike are one
    expected = sum(similarity(ngrams("愤怒，快"), ngrams(other)) for other in texts) / 4
    assert found[0].similarity == pytest.approx(expected)


@pytest.mark.parametrize(
    ("facts", "first"),
    [("labels", "愤怒，快"), ("references", "悲伤，快"), ("both", "愤怒，悲伤，快"), ("none", "悲伤，快")],
)
def test_what_decides_whether_a_category_is_wrong(facts, first):
    known = Known(["悲伤，快"], TRUTH)  # a reference that contradicts the label
    texts = ["愤怒，快", "悲伤，快", "愤怒，悲伤，快", "高兴，快"]
    found = Ranking(WORDS, facts=facts).rank([(texts, known)])[0]
    wrong = {one.text: one.errors for one in found}
    assert (
        wrong
        == {
            "labels": dict(zip(texts, (0, 1, 1, 1), strict=True)),
            "references": dict(zip(texts, (1, 0, 1, 1), strict=True)),
            "both": dict(zip(texts, (0, 0, 0, 1), strict=True)),
            "none": dict(zip(texts, (0, 0, 0, 0), strict=True)),
        }[facts]
    )
    if facts != "both":  # where three have no error and similarity decides
        assert found[0].text == first


def test_what_is_unfaithful():
    known = Known(["愤怒，快"], TRUTH, "愤怒的小鸟飞快", "请描述愤怒的声音")
    human = HumanCaptions(["愤怒，快", "他愤怒地说得快"])
    long = "愤怒，快，说话的人站在门口一动不动地看着天空"
    texts = ["愤怒的小鸟飞快。", "请描述愤怒的声音", "愤怒 he is very fast", long, "愤怒，快"]
    found = Ranking(WORDS, lang="zh", human=human).rank([(texts, known)])[0]
    assert {one.text for one in found if one.unfaithful} == set(texts[:4]) and found[0].text == texts[4]
    assert not any(one.unfaithful for one in Ranking(WORDS, facts="none", lang="zh").rank([(texts, known)])[0])
    found = Ranking(WORDS, lang="zh").rank([(texts, known)])[0]  # how long captions are is not known
    assert {one.text for one in found if one.unfaithful} == set(texts[:3])


def test_what_says_nothing_is_no_candidate():
    assert order(["", " ，", RIGHT]) == [RIGHT] and order(["", "!"]) == []


def test_only_the_attributes_that_count():
    texts = ["愤怒，慢", "愤怒"]
    assert order(texts) == ["愤怒", "愤怒，慢"]
    found = Ranking(WORDS, attributes=["emotion"]).rank([(texts, Known(["愤怒，慢"], TRUTH))])[0]
    assert [one.text for one in found] == texts and [(one.errors, one.coverage) for one in found] == [(0, 1)] * 2


def test_ngram_similarity_of_several_utterances():
    found = ngram_similarity([(["ab"], ["ab", "cd"]), (["x", "y"], ["y"])])
    assert found == [[0.5], [0.0, 1.0]]


class FixedJudge:
    """Answers by a table, in place of a model of gigabytes; what it was asked is kept."""

    path = "fixed"

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def closeness(self, question, pairs):
        self.asked += pairs
        return [self.answers.get(pair) for pair in pairs]


def test_a_judge_is_asked_in_both_orders():
    answers = {("愤怒", "快"): 5, ("快", "愤怒"): 3, ("悲伤", "快"): 1, ("快", "悲伤"): 2}
    judge = FixedJudge(answers)
    found = judge_similarity(judge, closeness())([(["愤怒", "悲伤", "快。"], ["快"])])
    assert found == [[(4 - 1) / 4, (1.5 - 1) / 4, 1.0]]
    assert sorted(judge.asked) == sorted(answers)  # each once, and never what is alike


def test_a_judge_that_does_not_answer():
    judge = FixedJudge({("a", "r"): 5, ("r", "a"): 5, ("b", "r"): 3})
    (row,) = judge_similarity(judge, closeness())([(["a", "b"], ["r"])])
    assert row == [1.0, 0.5]  # one order is enough
    (row,) = judge_similarity(FixedJudge({("a", "r"): 4, ("r", "a"): 4, ("c", "r"): 2, ("r", "c"): 2}), closeness())(
        [(["a", "b", "c"], ["r"])]
    )
    assert row == [0.75, 0.5, 0.25]  # the mean where there is none
    with pytest.raises(SecError, match="--judge fixed: gives no answer to 2 of 2 questions; take another LM or prompt"):
        judge_similarity(FixedJudge({}), closeness())([(["a"], ["r"])])


def test_a_real_language_model_as_the_judge(tiny_llama, monkeypatch):
    from espnet2_secap.metric import judge as module

    monkeypatch.setattr(module, "LEAST", 0.0)
    judge = module.Judge(tiny_llama)
    (row,) = judge_similarity(judge, closeness())([(["愤怒", "悲伤"], ["快乐", "愤怒"])])
    one, other = judge.closeness(closeness(), [("愤怒", "快乐"), ("快乐", "愤怒")])
    assert row[0] == pytest.approx((((one + other) / 2 - 1) / 4 + 1) / 2)


def test_a_matrix_of_closeness_does_not_ask_about_what_says_nothing():
    judge = FixedJudge({("a", "b"): 3, ("b", "a"): 5, ("A", "b"): 3})
    texts = ["a", "b", "", "A"]
    (found,) = judge_matrices(judge, closeness(), [(texts, texts)])
    same = 0.75
    assert found == [[1.0, same, 0.0, 1.0], [same, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0], [1.0, 0.5, 0.0, 1.0]]

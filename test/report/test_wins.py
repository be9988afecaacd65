import pytest

from espnet2_secap.metric.judge import Judge
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.compare import compare

REFERENCES = {
    "a": ["很高兴，语速很快"], "b": ["悲伤，语速缓慢"], "c": ["语气平静"], "d": ["生气，声音很大"], "e": ["害怕"],
}  # fmt: skip
PAIR = ("sec_a", "sec_b")
A = {
    "a": ["很高兴，语速很快"],  # no error, more attributes: wins
    "b": ["悲伤，语速缓慢"],  # no error: wins, though the other names as much
    "c": ["语气平静"],  # equal facts, more like the reference: wins
    "d": ["高兴，声音很大"],  # one error: loses, though it names more
    "e": ["恐惧"],  # the same caption: a tie
}
B = {"a": ["高兴"], "b": ["悲伤，语速很快"], "c": ["平静"], "d": ["生气"], "e": ["恐惧"]}


def judge(prefers):
    """A judge that prefers the first text or the second one; the LM alone is left out."""

    class Answers(Judge):
        def __init__(self):
            pass

        def ask(self, question, texts):
            return [prefers(*some) for some in texts]

    return Answers()


def compared(exp, pair=PAIR, **options):
    (one,) = compare(find_scores(exp), pair, wins=True, **options)
    return one


@pytest.fixture
def exp(tmp_path, scored):
    scored("sec_a", A, REFERENCES, ["rouge_l"])
    scored("sec_b", B, REFERENCES, ["rouge_l"])
    return tmp_path / "exp"


def test_truth_by_hand(exp):
    one = compared(exp)
    (truth,) = one.wins
    assert (truth.by, truth.win, truth.tie, truth.loss, truth.rate, truth.utterances) == ("truth", 60, 20, 20, 70, 5)
    assert truth.low < 70 < truth.high and 0.2 < truth.p < 1
    assert one.notes == ["win rate by truth: where attributes do not decide, by rouge_l"]
    assert one.numbers()["wins"]["truth"]["rate"] == 70
    assert "| truth | 60.00 | 20.00 | 20.00 | 70.00 |" in one.markdown() and "win rate of A" in one.text()


def test_the_other_order_is_the_mirror_image(exp):
    def prefers(reference, first, second):
        return [0.5, 0.5] if "恐惧" in first else [0.9, 0.1] if len(first) > len(second) else [0.1, 0.9]

    forth, back = (compared(exp, pair, judge=judge(prefers)).wins for pair in (PAIR, PAIR[::-1]))
    assert [one.by for one in forth] == ["truth", "judge"]
    for one, other in zip(forth, back, strict=True):
        assert (other.win, other.tie, other.loss, other.rate) == (one.loss, one.tie, one.win, 100 - one.rate)
        assert (other.low, other.high, other.p) == pytest.approx((100 - one.high, 100 - one.low, one.p))


def test_equal_systems_tie(exp):
    same = compared(exp, ("sec_a", "sec_a"), judge=judge(lambda *texts: [0.9, 0.1]))
    for one in same.wins:
        assert (one.win, one.tie, one.loss, one.rate, one.low, one.high, one.p) == (0, 100, 0, 50, 50, 50, 1)


def test_a_judge_that_favours_a_place_decides_nothing(exp):
    (_, by_judge) = compared(exp, judge=judge(lambda *texts: [0.9, 0.1])).wins
    assert (by_judge.tie, by_judge.rate) == (100, 50)


def test_judge_by_hand_and_what_it_does_not_answer(exp):
    def prefers(reference, first, second):
        if reference.startswith("语气"):
            return None
        good = first in ("高兴", "悲伤，语速缓慢")
        return [0.9, 0.1] if good else [0.1, 0.9]

    one = compared(exp, judge=judge(prefers))
    # a: B's, b: A's, c: no answer, d: neither is good, so always the second place: a tie; e: the same caption
    found = one.wins[1]
    assert (found.win, found.tie, found.loss, found.rate, found.utterances) == (25, 50, 25, 50, 4)
    assert one.notes[-1] == "win rate by judge: the judge gives no answer for 1 of 5 utterances (c): left out"
    silent = compared(exp, judge=judge(lambda *texts: None))
    assert [one.by for one in silent.wins] == ["truth"]
    assert (
        "win rate by judge is omitted: it has too few answers: the judge gives no answer for 4 of 5" in silent.notes[-1]
    )


def test_candidates_are_compared_one_by_one(tmp_path, scored):
    references = {"a": ["高兴"], "b": ["悲伤"]}
    scored("sec_a", {"a": ["高兴", "悲伤"], "b": ["悲伤", "悲伤"]}, references, ["cider"])
    scored("sec_b", {"a": ["悲伤", "悲伤", "x"], "b": ["高兴", "高兴", "x"]}, references, ["cider"])
    (truth,) = compared(tmp_path / "exp").wins
    assert (truth.win, truth.tie, truth.loss, truth.rate) == (75, 25, 0, 87.5)


def test_without_a_similarity_equal_facts_tie(tmp_path, scored):
    for system, captions in (("sec_a", A), ("sec_b", B)):
        scored(system, captions, REFERENCES, ["bleu_1"])
    one = compared(tmp_path / "exp")
    assert (one.wins[0].win, one.wins[0].tie) == (40, 40)
    assert one.notes == [
        "win rate by truth: where attributes do not decide, a tie: no similarity to the references was scored for both"
    ]


@pytest.mark.parametrize(
    "meta, message",
    [
        ({"words": "none"}, "needs words of emotion, rate, volume or pitch"),
        ({"words": "nowhere.json"}, "words or labels no longer exist"),
        ({"hyp": "nowhere"}, "scored captions no longer exist"),
    ],
)
def test_where_there_is_no_win_rate_the_reason_is_told(tmp_path, scored, meta, message):
    for system, captions in (("sec_a", A), ("sec_b", B)):
        scored(system, captions, REFERENCES, ["rouge_l"], **meta)
    one = compared(tmp_path / "exp")
    assert one.wins == [] and message in one.notes[-1] and one.notes[-1].startswith("win rate by truth is omitted: it")
    assert "win rate of A" not in one.text() and one.differences


def test_scores_about_other_attributes_have_no_win_rate(tmp_path, scored):
    scored("sec_a", A, REFERENCES, ["rouge_l"])
    scored("sec_b", B, REFERENCES, ["rouge_l"], hallucination_attributes=["rate"])
    assert "the same --hallucination_attributes" in compared(tmp_path / "exp").notes[-1]

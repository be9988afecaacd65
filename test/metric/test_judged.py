import pytest

from espnet2_secap.metric import judge as judge_module
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.judge import Judge
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char


def context(answer, **models) -> Context:
    """With a judge whose probabilities of a question's texts are `answer`'s: the LM alone is left out."""

    class Answers(Judge):
        def __init__(self):
            pass

        def ask(self, question, texts):
            return [answer(*some) for some in texts]

    return Context(segment_char, models={"judge": "lm"} | models, shared={"judge": Answers()})


def digit(number):
    return None if number is None else [float(number == i) for i in range(1, 6)]


def test_both_orders_count_and_the_closest_reference():
    digits = {("a", "x"): 5, ("x", "a"): 4, ("b", "x"): 1, ("x", "b"): 2}
    here = context(lambda first, second: digit(digits[first, second]))
    score, agree = find_metric("judge").make(here), find_metric("judge_agreement").make(here)
    references = {"u": ["a", "b"], "v": ["b"]}
    assert score(references, {"u": "x", "v": "x"}) == (50, {"u": 87.5, "v": 12.5})
    assert agree({"u": ["a", "b"]}, {"u": "x"})[0] == 75
    assert score({"u": ["a"]}, {"u": " "})[0] == 0


def test_a_judge_that_does_not_answer():
    here = context(lambda first, second: digit(None if "x" in (first, second) else 3))
    references = {"u": ["a"], "v": ["a"], "w": ["a"]}
    corpus, each = find_metric("judge").make(here)(references, {"u": "x", "v": "b", "w": "c"})
    assert each == {"u": None, "v": 50.0, "w": 50.0} and corpus == 50
    assert here.notes == ["judge: the judge gives no answer for 1 of 3 utterances (u): left out"]
    with pytest.raises(MetricUnavailable, match="gives no answer for 2 of 3 utterances"):
        find_metric("judge").make(here)(references, {"u": "x", "v": "x", "w": "c"})
    with pytest.raises(MetricUnavailable, match="gives no answer"):
        find_metric("judge_agreement").make(here)({"u": ["a"]}, {"u": "x"})


def test_preference_over_another_system(tmp_path):
    """a is taken in both orders, b in the first place, c in none; d and f's other say nothing, e's is the same."""
    others = {utt: f"{utt}2" for utt in "abcdef"} | {"e": "e1", "f": "..."}
    (tmp_path / "other").write_text("".join(f'{utt} ["{text}", "z"]\n' for utt, text in others.items()))

    def answer(reference, first, second):
        first_wins = {"a": first == "a1", "b": True, "c": first == "c2"}[first[0]]
        return [0.8, 0.2] if first_wins else [0.3, 0.7]

    here = context(answer, judge_against=str(tmp_path / "other"))
    references, hypotheses = {utt: ["r", "s"] for utt in "abcdef"}, {utt: f"{utt}1" for utt in "abcdef"} | {"d": "。"}
    corpus, each = find_metric("judge_preference").make(here)(references, hypotheses)
    assert each == {"a": 100, "b": 50, "c": 0, "d": 0, "e": 50, "f": 100} and corpus == 50
    corpus, each = find_metric("judge_preference_agreement").make(here)(references, hypotheses)
    assert (each["a"], each["b"], each["c"]) == (100, 0, 100) and corpus == pytest.approx(500 / 6)


def test_a_real_lm_prefers_its_place_or_not(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(judge_module, "LEAST", 0.0)
    (tmp_path / "other").write_text('u ["悲伤"]\nv ["声音低沉"]\n', encoding="utf-8")
    models = {"judge": tiny_llama, "judge_against": str(tmp_path / "other"), "judge_cache": str(tmp_path / "cache")}
    references, hypotheses = {"u": ["开心"], "v": ["愤怒"]}, {"u": "愉快", "v": "高亢"}
    names = ("judge", "judge_agreement", "judge_preference", "judge_preference_agreement")

    def scored():
        here = Context(segment_char, models=models)
        return [find_metric(name).make(here)(references, hypotheses) for name in names]

    first = scored()
    assert all(0 <= corpus <= 100 for corpus, _ in first)
    assert len((tmp_path / "cache").read_text(encoding="utf-8").splitlines()) == 8
    assert scored() == first and len((tmp_path / "cache").read_text(encoding="utf-8").splitlines()) == 8


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(MetricUnavailable, match="--judge FOLDER"):
        find_metric("judge").make(Context(segment_char))
    with pytest.raises(MetricUnavailable, match="--judge_against FILE"):
        find_metric("judge_preference").make(context(None))
    (tmp_path / "other").write_text('u ["悲伤"]\n', encoding="utf-8")
    score = find_metric("judge_preference").make(context(None, judge_against=str(tmp_path / "other")))
    with pytest.raises(MetricUnavailable, match=r"other: lacks 1 of the utterances \(v\)"):
        score({"u": ["a"], "v": ["a"]}, {"u": "a", "v": "a"})

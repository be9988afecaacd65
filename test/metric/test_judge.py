import json

import pytest
import torch
from tiny import make_qwen

from espnet2_secap.errors import SecError
from espnet2_secap.metric import judge
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.judge import Judge
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char

PAIR = ("很高兴", "悲伤")


def test_the_answer_is_the_mean_digit_by_probability(tiny_llama, monkeypatch):
    monkeypatch.setattr(judge, "LEAST", 0.0)
    one = Judge(tiny_llama)
    text = one.prompt.replace("{first}", PAIR[0]).replace("{second}", PAIR[1])
    ids = torch.tensor([[one.tokenizer.bos_id, *one.tokenizer.encode(text)]])
    with torch.no_grad():
        p = one.lm(input_ids=ids).logits[0, -1].softmax(-1)[one.digits]
    wanted = sum((i + 1) * value for i, value in enumerate(p.tolist())) / p.sum().item()
    assert one.ask([PAIR]) == [pytest.approx(wanted)] and 1 <= wanted <= 5


def test_answers_are_kept_by_model_prompt_and_texts(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "LEAST", 0.0)
    cache = tmp_path / "new" / "judge.jsonl"
    first = Judge(tiny_llama, cache=cache).ask([PAIR, PAIR[::-1], PAIR])
    assert len(cache.read_text().splitlines()) == 2 and first[0] == first[2] != first[1]
    with open(cache, "a") as file:
        file.write('{"key": "abc", "dig')  # cut short
    again = Judge(tiny_llama, cache=cache)
    monkeypatch.setattr(again, "_probabilities", None)  # it is not asked again
    assert again.ask([PAIR]) == first[:1]
    (tmp_path / "prompt.txt").write_text("{first} / {second}: ")
    other = Judge(tiny_llama, str(tmp_path / "prompt.txt"), cache)
    assert other.ask([PAIR]) != first[:1] and len(again.answers) == 2


def answers(tiny_llama, monkeypatch, said):
    """The metrics with a judge that says, of a pair, `said`."""
    one = Judge(tiny_llama)
    monkeypatch.setattr(one, "ask", lambda pairs: [said(*pair) for pair in pairs])
    return Context(segment_char, models={"judge": tiny_llama}, shared={"judge": one})


def test_both_orders_count_and_the_closest_reference(tiny_llama, monkeypatch):
    digits = {("a", "x"): 5.0, ("x", "a"): 4.0, ("b", "x"): 1.0, ("x", "b"): 2.0}
    context = answers(tiny_llama, monkeypatch, lambda first, second: digits[first, second])
    score, agree = find_metric("judge").make(context), find_metric("judge_agreement").make(context)
    assert score({"u": ["a", "b"], "v": ["b"]}, {"u": "x", "v": "x"}) == (
        pytest.approx((87.5 + 12.5) / 2),
        {"u": 87.5, "v": 12.5},
    )
    assert agree({"u": ["a", "b"]}, {"u": "x"})[0] == 75
    assert score({"u": ["a"]}, {"u": " "})[0] == 0


def test_a_judge_that_answers_nonsense(tiny_llama, monkeypatch):
    context = answers(tiny_llama, monkeypatch, lambda first, second: None if "x" in (first, second) else 3.0)
    references = {"u": ["a"], "v": ["a"], "w": ["a"]}
    corpus, each = find_metric("judge").make(context)(references, {"u": "x", "v": "b", "w": "c"})
    assert each == {"u": None, "v": 50.0, "w": 50.0} and corpus == 50
    with pytest.raises(MetricUnavailable, match="gives no digit for 2 of 3 utterances"):
        find_metric("judge").make(context)(references, {"u": "x", "v": "x", "w": "c"})


def test_too_little_probability_of_digits_is_no_answer():
    assert judge._expected([0.01, 0.01, 0.01, 0.01, 0.01]) is None
    assert judge._expected([0.0, 0.0, 0.1, 0.0, 0.1]) == pytest.approx(4)


def test_a_chat_template_is_used(tmp_path):
    from tiny import CHAT

    one = Judge(str(make_qwen(tmp_path / "qwen", CHAT)), "en")
    text = one._text(*PAIR)
    assert text.startswith("<|im_start|>user\n") and text.endswith("<|im_start|>assistant\n") and PAIR[0] in text


def test_what_is_wrong_is_one_line(tiny_llama, tiny_bert, tmp_path):
    with pytest.raises(MetricUnavailable, match="--judge"):
        find_metric("judge").make(Context(segment_char))
    (tmp_path / "prompt.txt").write_text("{first}?")
    with pytest.raises(SecError, match="must have {first} and {second}"):
        Judge(tiny_llama, str(tmp_path / "prompt.txt"))
    with pytest.raises(SecError, match="--judge: .* give a causal language model"):
        Judge(tiny_bert)


def test_there_is_a_prompt_for_zh_and_en():
    prompts = json.loads(judge.PROMPTS.read_text(encoding="utf-8"))
    assert set(prompts) == {"zh", "en"} and judge._prompt("ja") == prompts["en"]

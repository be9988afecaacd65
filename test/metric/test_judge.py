import json
import shutil

import pytest
import torch
from tiny import CHAT, make_llama, make_qwen

from espnet2_secap.errors import SecError
from espnet2_secap.metric import judge
from espnet2_secap.metric.judge import Judge, choice, closeness

PAIR = ("很高兴", "悲伤")


@pytest.fixture
def every_answer_counts(monkeypatch):
    """A random LM gives the answers next to no probability."""
    monkeypatch.setattr(judge, "LEAST", 0.0)


def test_the_answer_is_the_mean_digit_by_probability(tiny_llama, every_answer_counts):
    one, question = Judge(tiny_llama), closeness()
    text = question.prompt.replace("{first}", PAIR[0]).replace("{second}", PAIR[1])
    ids = torch.tensor([[one.tokenizer.bos_id, *one.tokenizer.encode(text)]])
    digits = [one.tokenizer.encode(digit)[-1] for digit in "12345"]
    with torch.no_grad():
        p = one.lm(input_ids=ids).logits[0, -1].softmax(-1)[digits]
    wanted = sum((i + 1) * value for i, value in enumerate(p.tolist())) / p.sum().item()
    assert one.closeness(question, [PAIR]) == [pytest.approx(wanted)] and 1 <= wanted <= 5


def test_a_choice_is_asked_in_both_orders(tiny_llama, every_answer_counts):
    one, question = Judge(tiny_llama), choice()
    (pair,) = one.choose(question, [("开心", *PAIR)])
    (as_a,), (as_b,) = one.ask(question, [("开心", *PAIR)]), one.ask(question, [("开心", *PAIR[::-1])])
    assert pair == (as_a[0], as_b[1]) and sum(as_a) == pytest.approx(1)
    assert as_a[0] != pytest.approx(as_b[1])  # this LM favours a place


def test_texts_with_braces_stay_as_they_are():
    assert choice("en").text(["{first}", "a {second}", "b"]).count("A: a {second}\nB: b") == 1
    assert "emotion of a speaker: {first}\n" in choice("en").text(["{first}", "a", "b"])


def test_answers_are_found_again_by_model_tokens_and_answers(tiny_llama, tmp_path, every_answer_counts, monkeypatch):
    cache, question = tmp_path / "new" / "judge.jsonl", closeness()
    first = Judge(tiny_llama, cache).closeness(question, [PAIR, PAIR[::-1], PAIR])
    lines = [json.loads(line) for line in cache.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 2 and first[0] == first[2] != first[1]
    assert lines[0]["question"] == "closeness-zh-2" and lines[0]["texts"] == list(PAIR)
    with open(cache, "a") as file:
        file.write('{"key": "abc", "p')  # cut short
    moved = str(shutil.copytree(tiny_llama, tmp_path / "moved"))
    again = Judge(moved, cache)
    with monkeypatch.context() as patch:
        patch.setattr(again, "_probabilities", None)  # it is not asked again
        assert again.closeness(question, [PAIR]) == first[:1]
    (tmp_path / "prompt.txt").write_text("{first} / {second}: ")
    own = closeness(file=str(tmp_path / "prompt.txt"))
    assert again.closeness(own, [PAIR]) != first[:1] and len(again.known) == 3
    assert len(Judge(moved, cache).known) == 3  # the half line has spoiled no other
    other = Judge(str(make_llama(tmp_path / "other", seed=1)), cache)
    assert other.closeness(question, [PAIR]) != first[:1] and len(other.known) == 4


def test_too_little_probability_is_no_answer(tiny_llama):
    assert judge._shares([0.01, 0.01, 0.01, 0.01, 0.01]) is None
    assert judge._shares([0.0, 0.0, 0.1, 0.0, 0.1]) == [0, 0, pytest.approx(0.5), 0, pytest.approx(0.5)]
    one = Judge(tiny_llama)
    one.longest = 10
    assert one.closeness(closeness(), [PAIR]) == [None]


def test_a_chat_template_is_used(tmp_path, every_answer_counts):
    one = Judge(str(make_qwen(tmp_path / "qwen", CHAT)))
    ids, answers = one._tokens(closeness("en"), PAIR)
    text = one.tokenizer.tokenizer.decode(ids)
    assert text.startswith("<|im_start|>user\nTwo") and text.endswith("<|im_start|>assistant\n") and PAIR[0] in text
    assert [one.tokenizer.decode([i]) for i in answers] == list("12345")


def test_the_blank_before_an_answer_may_be_part_of_its_token(tmp_path):
    """GPT-2's tokenizer and its like join them: the prompt must not end with a blank of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["Answer: 1 Answer: 2 Answer: 3 Answer: 4 Answer: 5"] * 50, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=512, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        tmp_path
    )
    one = Judge(str(tmp_path))
    ids, answers = one._tokens(closeness("en"), PAIR)
    assert [one.tokenizer.tokenizer.decode([i]) for i in answers] == [f" {digit}" for digit in "12345"]
    assert one.tokenizer.tokenizer.decode(ids).endswith("Answer:")
    assert one.longest == 512


def test_what_is_wrong_is_one_line(tiny_llama, tiny_bert, tmp_path):
    (tmp_path / "prompt.txt").write_text("{first}?")
    with pytest.raises(SecError, match="prompt.txt: lacks {second}"):
        closeness(file=str(tmp_path / "prompt.txt"))
    with pytest.raises(SecError, match="prompt.txt: lacks {reference} and {second}"):
        choice(file=str(tmp_path / "prompt.txt"))
    with pytest.raises(SecError, match="--judge: .* give a causal language model"):
        Judge(tiny_bert)
    with pytest.raises(SecError, match="--judge_cache .*: is a folder"):
        Judge(tiny_llama, tmp_path)
    with pytest.raises(SecError, match="prompt.txt: holds something else than a judge's answers; give another file"):
        Judge(tiny_llama, tmp_path / "prompt.txt")
    assert (tmp_path / "prompt.txt").read_text() == "{first}?"


def test_there_are_prompts_for_zh_and_en():
    prompts = json.loads(judge.PROMPTS.read_text(encoding="utf-8"))
    assert isinstance(prompts["version"], int)
    for kind, question in (("closeness", closeness), ("choice", choice)):
        assert set(prompts[kind]) == {"zh", "en"} and question("ja").prompt == prompts[kind]["en"]

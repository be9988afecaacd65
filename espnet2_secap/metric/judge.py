"""A language model as the judge of captions: how close is the emotion of a caption to that of a reference?

The model is asked for a digit from 1 to 5. Nothing is drawn: the answer is the mean of the digits by their probability.
A pair is asked in both orders, since language models favour places (Zheng et al., NeurIPS 2023); how often the two
agree is reported. Answers are kept on disk, by model, prompt and texts.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from espnet2_secap.data.io import make_dir
from espnet2_secap.data.text_file import read_json, read_text
from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.normalize import says_something
from espnet2_secap.progress import progress

PROMPTS = Path(__file__).with_name("judge_prompts.json")
DIGITS = "12345"
LEAST = 0.1  # probability of all digits together, below which an answer is none
BATCH = 16


class Judge:
    """A causal LM that is asked for a digit.

    Args:
        path: folder or hub name of a causal LM of transformers; its chat template is used where it has one.
        lang: of the prompt, zh or en; en for others. Or a text file with a prompt of your own, with {first} and
            {second} in it.
        cache: file of answers, which is made and extended; none if None.
        device: cpu, cuda or cuda:N.

    Raises:
        SecError: no causal LM; a prompt without places; a digit that is no token of the LM.
    """

    def __init__(self, path: str, lang: str = "zh", cache: str | Path | None = None, device: str = "cpu"):
        from espnet2_secap.pretrained import load_causal_lm
        from espnet2_secap.text.tokenizer import build_tokenizer

        self.prompt = _prompt(lang)
        self.lm = load_causal_lm(path, "--judge").to(device).eval()
        self.tokenizer, self.device = build_tokenizer(path), device
        self._encode = getattr(self.tokenizer, "encode_special", self.tokenizer.encode)
        self.digits = self._digits(self._text("", ""))
        if len(set(self.digits)) < len(DIGITS):
            raise SecError(f"--judge {path}: its tokenizer has no token for each of the digits 1 to 5; take another LM")
        self.made_from = _digest([path, _weights(path), self.prompt])
        self.cache = Path(cache) if cache else None
        self.answers = _read_cache(self.cache) if self.cache else {}

    def ask(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Of each pair of texts, in this order, the expected digit, 1 to 5; None where the LM gives no digit."""
        keys = [_digest([self.made_from, *pair]) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self.answers}
        todo = list(new.items())
        starts = range(0, len(todo), BATCH)
        for start in progress(starts, desc=f"asking the judge, {BATCH} pairs a step"):
            batch = todo[start : start + BATCH]
            found = self._probabilities([self._text(*pair) for _, pair in batch])
            self._keep({key: one for (key, _), one in zip(batch, found, strict=True)})
        return [_expected(self.answers[key]) for key in keys]

    def _digits(self, text: str) -> list[int]:
        """The tokens of the digits behind a text."""
        return [self._encode(text + digit)[-1] for digit in DIGITS]

    def _text(self, first: str, second: str) -> str:
        text = self.prompt.replace("{first}", first).replace("{second}", second)
        if not self.tokenizer.has_chat_template:
            return text
        return self.tokenizer.render_chat([{"role": "user", "content": text}], True)

    def _probabilities(self, texts: list[str]) -> list[list[float]]:
        """Of each text the probabilities of the digits as the next token."""
        import torch

        bos = [] if self.tokenizer.bos_id is None or self.tokenizer.has_chat_template else [self.tokenizer.bos_id]
        found = []
        with torch.no_grad():
            for text in texts:  # one by one: no LM's padding can change an answer
                ids = torch.tensor([[*bos, *self._encode(text)]], device=self.device)
                logits = self.lm(input_ids=ids).logits[0, -1].float()
                found.append(logits.softmax(-1)[self.digits].tolist())
        return found

    def _keep(self, answers: dict[str, list[float]]) -> None:
        self.answers |= answers
        if self.cache:
            make_dir(self.cache.parent)
            with open(self.cache, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps({"key": key, "digits": one}) + "\n" for key, one in answers.items()))


def _prompt(lang: str) -> str:
    path = Path(lang)
    prompts = read_json(PROMPTS)
    prompt = read_text(path) if path.is_file() else prompts.get(lang, prompts["en"])
    if "{first}" not in prompt or "{second}" not in prompt:
        raise SecError(f"--judge_prompt {lang}: must have {{first}} and {{second}}, where the two texts stand")
    return prompt


def _weights(path: str) -> list:
    """What tells one version of a local model from another."""
    folder = Path(path)
    files = sorted(one for one in folder.glob("*") if one.is_file()) if folder.is_dir() else []
    return [[one.name, one.stat().st_size, one.stat().st_mtime_ns] for one in files]


def _digest(content: list) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:32]


def _read_cache(path: Path) -> dict[str, list[float]]:
    """Answers of earlier calls; a line that a killed process has not finished is passed over."""
    answers = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                one = json.loads(line)
                answers[one["key"]] = [float(value) for value in one["digits"]]
            except (ValueError, KeyError, TypeError):
                continue
    return answers


def _expected(digits: Sequence[float]) -> float | None:
    total = sum(digits)
    return sum((i + 1) * one for i, one in enumerate(digits)) / total if total >= LEAST else None


def _judge(context: Context) -> Judge:
    if "judge" not in context.models:
        raise MetricUnavailable("no judge given; choose one with --judge FOLDER_OR_HUB_NAME")
    if "judge" not in context.shared:
        models = context.models
        lang, cache = models.get("judge_prompt", "zh"), models.get("judge_cache")
        context.shared["judge"] = Judge(models["judge"], lang, cache, context.device)
    return context.shared["judge"]


def _both_orders(judge: Judge, references: References, hypotheses: Hypotheses):
    """Utterance -> for each reference the answers in both orders; what says nothing is not asked."""
    places = [(utt, one) for utt in hypotheses if says_something(hypotheses[utt]) for one in references[utt]]
    forward = judge.ask([(one, hypotheses[utt]) for utt, one in places])
    backward = judge.ask([(hypotheses[utt], one) for utt, one in places])
    found: dict[str, list[tuple[float | None, float | None]]] = {utt: [] for utt in hypotheses}
    for (utt, _), *pair in zip(places, forward, backward, strict=True):
        found[utt].append(tuple(pair))
    return found


def judged(context: Context) -> ScoreFunction:
    """Mean answer of both orders for the closest reference, 1 as 0 and 5 as 100; 0 for a caption that says nothing.

    An utterance to which the LM gives no digit has no value; where it gives none to more than half of them, the metric
    has none.
    """
    judge = _judge(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, pairs in _both_orders(judge, references, hypotheses).items():
            whole = [(a + b) / 2 for a, b in pairs if a is not None and b is not None]
            silent = not says_something(hypotheses[utt])
            each[utt] = 0.0 if silent else 25 * (max(whole) - 1) if whole else None
        known = [value for value in each.values() if value is not None]
        if len(known) <= len(each) / 2:
            raise MetricUnavailable(f"the judge gives no digit for {len(each) - len(known)} of {len(each)} utterances")
        return sum(known) / len(known), each

    return score


def agreement(context: Context) -> ScoreFunction:
    """How far the two orders agree: 100 minus 25 times the mean difference of their answers."""
    judge = _judge(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, pairs in _both_orders(judge, references, hypotheses).items():
            apart = [abs(a - b) for a, b in pairs if a is not None and b is not None]
            each[utt] = 100 - 25 * sum(apart) / len(apart) if apart else None
        known = [value for value in each.values() if value is not None]
        if not known:
            raise MetricUnavailable("the judge gives no digit")
        return sum(known) / len(known), each

    return score


METRICS = [
    Metric("judge", "judge", judged),
    Metric("judge_agreement", "judge, both orders", agreement, neutral=True),
]

"""A language model as the judge of captions: its questions, its answers, and where they are kept.

Two questions: how close are the emotions of two texts, 1 to 5; and which of two captions is closer to a reference, A or
B. Nothing is drawn: an answer is the probabilities of its tokens. Language models favour places, so both orders are
asked (Zheng et al., Judging LLM-as-a-judge, NeurIPS 2023). The metrics are in judged.py.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet2_secap.data.io import make_dir
from espnet2_secap.data.text_file import read_json, read_text
from espnet2_secap.errors import SecError
from espnet2_secap.progress import progress

if TYPE_CHECKING:
    import torch

PROMPTS = Path(__file__).with_name("judge_prompts.json")
BEGINNING = b'{"key": '  # of the lines of a cache
LEAST = 0.1  # probability of all answers together, below which there is none


@dataclass(frozen=True)
class Question:
    """What a judge is asked.

    Args:
        name: closeness or choice, with language and version of the prompt.
        prompt: with the names of `places` in braces.
        places: what the texts of a question are, in this order.
        answers: each one token of the LM.
    """

    name: str
    prompt: str
    places: tuple[str, ...]
    answers: str

    def text(self, texts: Sequence[str]) -> str:
        """The prompt with its texts, which may have braces themselves."""
        given = dict(zip(self.places, texts, strict=True))
        return re.sub("|".join(f"{{{place}}}" for place in given), lambda found: given[found[0][1:-1]], self.prompt)


def closeness(lang: str = "zh", file: str | None = None) -> Question:
    """How close are the emotions of two texts, 1 (quite different) to 5 (the same)?

    Args:
        lang: of the prompt, zh or en; en for others.
        file: text file with a prompt of your own.

    Raises:
        SecError: it has not {first} and {second}.
    """
    return _question("closeness", ("first", "second"), "12345", lang, file)


def choice(lang: str = "zh", file: str | None = None) -> Question:
    """Which of two captions is closer to a reference, A or B? The arguments are those of `closeness`."""
    return _question("choice", ("reference", "first", "second"), "AB", lang, file)


def _question(kind: str, places: tuple[str, ...], answers: str, lang: str, file: str | None) -> Question:
    prompts = read_json(PROMPTS)
    lang = lang if lang in prompts[kind] else "en"
    prompt = read_text(Path(file)) if file else prompts[kind][lang]
    if missing := [f"{{{place}}}" for place in places if f"{{{place}}}" not in prompt]:
        raise SecError(f"{file}: lacks {' and '.join(missing)}, where the texts of the question stand; add them")
    name = f"{kind}-{Path(file).name}" if file else f"{kind}-{lang}-{prompts['version']}"
    return Question(name, prompt, places, answers)


class Judge:
    """A causal LM that answers with one token.

    Args:
        path: folder or hub name of a causal LM of transformers; its chat template is used where it has one.
        cache: file of answers, which is made and extended; none if None. An answer is found again by the content of the
            model's tensors and by its tokens, so by tokenizer, prompt and texts.
        device: cpu, cuda or cuda:N.

    Raises:
        SecError: no causal LM; a cache file of another kind.
    """

    def __init__(self, path: str, cache: str | Path | None = None, device: str = "cpu"):
        from espnet2_secap.pretrained import load_causal_lm, position_limit
        from espnet2_secap.text.tokenizer import build_tokenizer

        self.path, self.device = path, device
        self.cache = Path(cache) if cache else None
        self.known = _read_cache(self.cache) if self.cache else {}
        self.lm = load_causal_lm(path, "--judge").eval()
        self.content = _content(self.lm) if self.cache else ""
        self.tokenizer = build_tokenizer(path)
        self._encode = getattr(self.tokenizer, "encode_special", self.tokenizer.encode)
        self.lm = self.lm.to(device)
        longest, fixed = position_limit(self.lm)
        self.longest = longest if fixed else None

    def ask(self, question: Question, texts: Sequence[Sequence[str]]) -> list[list[float] | None]:
        """Of each tuple of texts the probabilities of the answers, summing to 1; None where the LM gives none.

        It gives none where they have less than 10% of the probability, and where the question is too long for it.

        Raises:
            SecError: the answers are no tokens of the LM.
        """
        asked = [self._tokens(question, some) for some in texts]
        keys = [_digest([self.content, *one]) for one in asked]
        todo = {key: at for at, key in enumerate(keys) if key not in self.known}
        for key, at in progress(todo.items(), desc=f"asking the judge, {question.name}") if todo else ():
            answer = self._probabilities(*asked[at])
            self.known[key] = answer
            self._keep({"key": key, "model": self.path, "question": question.name, "texts": texts[at], "p": answer})
        return [_shares(self.known[key]) for key in keys]

    def closeness(self, question: Question, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Of each pair of texts, in this order, the mean answer, 1 to 5."""
        answers = self.ask(question, pairs)
        return [None if p is None else sum((i + 1) * one for i, one in enumerate(p)) for p in answers]

    def choose(self, question: Question, triples: Sequence[tuple[str, str, str]]) -> list[tuple[float, float] | None]:
        """Of each reference and two captions the probability of the first caption: asked as A, and asked as B."""
        answers = self.ask(question, [*triples, *((one, second, first) for one, first, second in triples)])
        pairs = zip(answers[: len(triples)], answers[len(triples) :], strict=True)
        return [None if a is None or b is None else (a[0], b[1]) for a, b in pairs]

    def _tokens(self, question: Question, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """The question, and each answer's token behind it."""
        text, bos = question.text(texts), self.tokenizer.bos_id
        if self.tokenizer.has_chat_template:
            text, bos = self.tokenizer.render_chat([{"role": "user", "content": text}], True), None
        # A blank before an answer may belong to its token: the question is what all have in common.
        whole = [self._encode(text + answer) for answer in question.answers]
        before, answers = whole[0][:-1], [ids[-1] for ids in whole]
        if any(ids[:-1] != before for ids in whole) or len(set(answers)) < len(answers):
            raise SecError(
                f"--judge {self.path}: its tokenizer has no token for each of the answers {', '.join(question.answers)}"
                " behind the prompt; take another LM"
            )
        return [*([] if bos is None else [bos]), *before], answers

    def _probabilities(self, ids: list[int], answers: list[int]) -> list[float]:
        import torch

        if self.longest is not None and len(ids) > self.longest:
            return [0.0] * len(answers)
        with torch.no_grad():  # one by one: no LM's padding can change an answer
            logits = self.lm(input_ids=torch.tensor([ids], device=self.device)).logits[0, -1].float()
        return logits.softmax(-1)[answers].tolist()

    def _keep(self, line: dict) -> None:
        if self.cache is None:
            return
        make_dir(self.cache.parent)
        with open(self.cache, "ab+") as file:
            if file.tell() and file.seek(-1, 2) is not None and file.read() != b"\n":  # a killed process's half line
                file.write(b"\n")
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _shares(p: list[float]) -> list[float] | None:
    total = sum(p)
    return [one / total for one in p] if total >= LEAST else None


def _content(lm: "torch.nn.Module") -> str:
    """Digest of a model's tensors: the same wherever its files lie. 7 billion parameters take about 15 s."""
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(lm.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def _digest(content: list) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _read_cache(path: Path) -> dict[str, list[float]]:
    """Answers of earlier calls; a line that a killed process has not finished is passed over."""
    answers = {}
    if path.is_dir():
        raise SecError(f"--judge_cache {path}: is a folder; give a file, such as {path}/judge.jsonl")
    if path.exists():
        with open(path, "rb") as file:
            start = file.read(len(BEGINNING))
        if start != BEGINNING[: len(start)]:
            raise SecError(f"--judge_cache {path}: holds something else than a judge's answers; give another file")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                one = json.loads(line)
                answers[one["key"]] = [float(value) for value in one["p"]]
            except (ValueError, KeyError, TypeError):
                continue
    return answers

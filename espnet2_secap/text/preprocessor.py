"""From the files of a data directory to what the models take, one utterance at a time."""

import random
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import numpy as np
from espnet2.train.preprocessor import AbsPreprocessor

from espnet2_secap.data.io import parse_captions
from espnet2_secap.errors import SecError


def read_prompts(path: str | None) -> list[str]:
    """Instructions, one per line: a file, or "zh" / "en" for the package's own thirty."""
    if path in ("zh", "en"):
        path = Path(__file__).parent / f"prompts_{path}.txt"
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SecError(f"prompts: {path}: cannot be read ({err.__class__.__name__}); give a UTF-8 file") from err
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SecError(f"prompts: {path}: holds no prompt; write one per line")
    return prompts


def encode_prompt(tokenizer, prompt: str, bos: bool) -> list[int]:
    """Token ids of an instruction; `bos` puts a BOS before them, as the released SECap does."""
    return ([tokenizer.bos_id] if bos else []) + tokenizer.encode(prompt)


class SECPreprocessor(AbsPreprocessor):
    """Draws one caption (and one prompt) per utterance and epoch, and turns text into token ids.

    In: `speech` as read, `caption` (JSON list of captions), `text` (transcription), `emotion` (category).
    Out, for the first stage (`prompts` none): `caption`, `text` by `tokenize`; `emotion` as a number.
    Out, for the second stage: `prompt`, and `caption` ending in `eos_id`.

    Args:
        train: draw at random; otherwise the first caption and the first prompt are taken, so that validation is the
            same each time. A draw depends on the seed, the epoch and the utterance alone: not on the number of
            processes, nor on whether the epoch was interrupted.
        tokenize: text -> token ids.
        emotions: the categories in order of their numbers.
        prompts: token ids of the instructions for the second stage.
        eos_id: ends a caption in the second stage.
        seed: of the draws.
    """

    def __init__(
        self,
        train: bool,
        tokenize: Callable[[str], list[int]],
        emotions: list[str] | None = None,
        prompts: list[list[int]] | None = None,
        eos_id: int | None = None,
        seed: int = 0,
    ):
        super().__init__(train)
        self.seed = seed
        self.epoch = 0
        self.tokenize = tokenize
        self.numbers = {emotion: i for i, emotion in enumerate(emotions or [])}
        self.prompts = [np.array(prompt, dtype=np.int64) for prompt in prompts] if prompts else None
        self.eos_id = eos_id

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from now on."""
        self.epoch = epoch

    def __call__(self, uid: str, data: dict[str, str | np.ndarray]) -> dict[str, np.ndarray]:
        """One utterance; see the class."""
        output = {"speech": np.asarray(data["speech"], dtype=np.float32)}
        draw = random.Random(f"{self.seed}-{self.epoch}-{uid}").choice if self.train else itemgetter(0)
        if self.prompts is not None:
            output["prompt"] = draw(self.prompts)
        if "caption" in data:
            ids = self.tokenize(draw(self._captions(uid, data["caption"])))
            output["caption"] = np.array(ids + ([] if self.eos_id is None else [self.eos_id]), dtype=np.int64)
        if "text" in data:
            output["text"] = np.array(self.tokenize(data["text"]), dtype=np.int64)
        if "emotion" in data:
            if data["emotion"] not in self.numbers:
                raise SecError(
                    f"utt2emo: {uid}: category {data['emotion']!r} is not one of the training set's"
                    f" ({', '.join(self.numbers)}); correct it, or leave the utterance out of the validation set"
                )
            output["emotion"] = np.array([self.numbers[data["emotion"]]], dtype=np.int64)
        return output

    @staticmethod
    def _captions(uid: str, line: str) -> list[str]:
        try:
            return parse_captions(line)
        except ValueError as err:
            raise SecError(f"captions: {uid}: {err}") from err

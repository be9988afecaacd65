"""From the files of a data directory to what the models take, one utterance at a time."""

import random
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import numpy as np
from espnet2.train.preprocessor import AbsPreprocessor

from espnet2_secap.data.io import parse_captions
from espnet2_secap.data.reference_pairs import parse_pairs
from espnet2_secap.errors import SecError
from espnet2_secap.text.clues import Clues, parse_clues
from espnet2_secap.text.pairs import PairEncoder
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.text.roles import CLUES, source_of

__all__ = ["SECPreprocessor", "read_prompts"]  # the latter of text/prompts.py, from here too


class SECPreprocessor(AbsPreprocessor):
    """Draws one caption and one instruction per utterance and epoch, and turns text into token ids.

    In: `speech` as read, `caption` (JSON list of captions), `text` (transcription), `emotion` (category), `clues` (JSON
    list of clues), `pairs` (see data/reference_pairs.py), of which one is drawn.
    Out: `speech`; `caption`, `text`, ... as ids, where `encode` has the name; `transcript`, `text_queries` and
    `teacher_transcript`, which are made of `text` too; `clues` and `teacher_clues`, of the clues that are read or else
    those of the caption that is drawn; `instruction`, where there are any; `chosen`, `rejected`, `pair_reference` and
    the pair's `instruction`, where there is an encoder of pairs;
    `emotion` as a number; `attributes` (C,), what all captions of the utterance name, where there is a function for it.

    Raises:
        SecError: when called: captions, clues or pairs that are no JSON list, pairs whose reference has read other
            tokens, an unknown category, speech that is not finite.

    Args:
        train: draw at random; otherwise the first caption and the first instruction are taken, so that validation is
            the same each time. A draw depends on the seed, the epoch and the utterance alone: not on the number of
            processes, nor on whether the epoch was interrupted.
        encode: name in the output -> function text -> token ids.
        instructions: token ids of the instructions to draw from.
        emotions: the categories in order of their numbers; if none, `emotion` is ignored.
        seed: of the draws.
        attributes: captions of an utterance -> target (C,) of the second task.
        classes: category as read -> the one of `emotions` that takes its place.
        clues: what finds the clues of a caption, where clues are read.
        clues_dropout: share of utterances whose `clues` are left out; drawn anew each epoch, and in validation the
            same ones each time. The teacher's stay.
        pairs: encoder of preference pairs; none are looked at without.
    """

    def __init__(
        self,
        train: bool,
        encode: Mapping[str, Callable[[str], list[int]]],
        instructions: Sequence[list[int]] = (),
        emotions: list[str] | None = None,
        seed: int = 0,
        attributes: Callable[[Sequence[str]], np.ndarray] | None = None,
        classes: Mapping[str, str] | None = None,
        clues: Clues | None = None,
        clues_dropout: float = 0.0,
        pairs: PairEncoder | None = None,
    ):
        super().__init__(train)
        self.pairs = pairs
        self.seed = seed
        self.attributes = attributes
        self.classes = classes or {}
        self.clues, self.clues_dropout = clues, clues_dropout
        self.epoch = 0
        self.encode = encode
        self.instructions = [np.array(one, dtype=np.int64) for one in instructions]
        self.numbers = {emotion: i for i, emotion in enumerate(emotions or [])}

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from now on."""
        self.epoch = epoch

    def __call__(self, uid: str, data: dict[str, str | np.ndarray]) -> dict[str, np.ndarray]:
        """One utterance; see the class."""
        output = {"speech": np.asarray(data["speech"], dtype=np.float32)}
        with np.errstate(all="ignore"):
            total = output["speech"].sum()  # cheap
        if not np.isfinite(total) and not np.isfinite(output["speech"]).all():
            raise SecError(f"speech: {uid}: has values that are not finite (NaN or infinity); run stages 2 and 3 again")
        draw = random.Random(f"{self.seed}-{self.epoch}-{uid}").choice if self.train else itemgetter(0)
        if self.instructions:
            output["instruction"] = draw(self.instructions)
        texts = data
        if "caption" in data and "caption" in self.encode:
            texts = data | {"caption": draw(self._captions(uid, data["caption"]))}
        if self.clues is not None and (CLUES in data or "caption" in texts):
            texts = texts | {CLUES: self.clues.grammar.prompt_of(self._clues(uid, data.get(CLUES), texts))}
        for name, encode in self.encode.items():
            source = source_of(name)
            if source in texts:
                left_out = source == CLUES and (not texts[CLUES] or (name == CLUES and self._drops_clues(uid)))
                output[name] = np.array([] if left_out else encode(texts[source]), dtype=np.int64)
        if self.pairs is not None and "pairs" in data:
            try:
                output |= self.pairs(draw(parse_pairs(data["pairs"])))
            except ValueError as err:
                raise SecError(f"pairs: {uid}: {err}") from err
        if self.attributes is not None and "caption" in data:
            output["attributes"] = self.attributes(self._captions(uid, data["caption"]))
        if "emotion" in data and self.numbers:
            emotion = self.classes.get(data["emotion"], data["emotion"])
            if emotion not in self.numbers:
                raise SecError(
                    f"utt2emo: {uid}: category {emotion!r} is not one of the training set's"
                    f" ({', '.join(self.numbers)}); correct it, or leave the utterance out of the validation set"
                )
            output["emotion"] = np.array([self.numbers[emotion]], dtype=np.int64)
        return output

    def _clues(self, uid: str, line: str | None, texts: Mapping) -> list[str]:
        """Those that were read, or else those of the caption."""
        if line is None:
            return self.clues.texts(texts["caption"])
        try:
            return parse_clues(line)
        except ValueError as err:
            raise SecError(f"clues: {uid}: {err}") from err

    def _drops_clues(self, uid: str) -> bool:
        """A draw of its own, so that the others are those of a training without clues."""
        epoch = self.epoch if self.train else "valid"
        return random.Random(f"{self.seed}-{epoch}-{uid}-clues").random() < self.clues_dropout

    @staticmethod
    def _captions(uid: str, line: str) -> list[str]:
        try:
            return parse_captions(line)
        except ValueError as err:
            raise SecError(f"captions: {uid}: {err}") from err

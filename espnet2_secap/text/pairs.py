"""Preference pairs as token ids."""

from collections.abc import Callable

import numpy as np

from espnet2_secap.data.reference_pairs import ReferencePair

Encode = Callable[[str], list[int]]


class PairEncoder:
    """Turns a pair into what the model takes.

    Args:
        caption: text -> token ids, with the end token.
        instruction: text -> token ids.
    """

    def __init__(self, caption: Encode, instruction: Encode):
        self.caption, self.instruction = caption, instruction

    def __call__(self, pair: ReferencePair) -> dict[str, np.ndarray]:
        """`chosen`, `rejected` and `instruction` as ids, and `pair_reference` (2,), the reference's log-probabilities.

        Raises:
            ValueError: the captions have other tokens than the reference has read.
        """
        output = {name: self._ids(self.caption, getattr(pair, name)) for name in ("chosen", "rejected")}
        for name, tokens in (("chosen", pair.chosen_tokens), ("rejected", pair.rejected_tokens)):
            if len(output[name]) != tokens:
                raise ValueError(
                    f"{name} has {len(output[name])} tokens here and {tokens} in its reference; run sec_reference again"
                    " with the model that training starts from"
                )
        reference = np.array([pair.chosen_reference, pair.rejected_reference], dtype=np.float32)
        return output | {"instruction": self._ids(self.instruction, pair.prompt), "pair_reference": reference}

    @staticmethod
    def _ids(encode: Encode, text: str) -> np.ndarray:
        return np.array(encode(text), dtype=np.int64)

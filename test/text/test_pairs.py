import dataclasses

import numpy as np
import pytest

from espnet2_secap.data.reference_pairs import ReferencePair
from espnet2_secap.text.pairs import PairEncoder

PAIR = ReferencePair("p", "ab", "cde", -3.25, -4.5, 3, 4, "factuality", "rule", 1.0)


def cut(text: str) -> list[int]:
    return [ord(c) for c in text]


def test_a_pair_as_the_model_takes_it():
    found = PairEncoder(lambda text: [*cut(text), 2], cut)(PAIR)
    assert {name: value.tolist() for name, value in found.items()} == {
        "chosen": [97, 98, 2],
        "rejected": [99, 100, 101, 2],
        "instruction": [112],
        "pair_reference": [-3.25, -4.5],
    }
    assert found["chosen"].dtype == np.int64 and found["pair_reference"].dtype == np.float32


def test_another_tokenizer_than_the_references_is_noticed():
    encode = PairEncoder(lambda text: [*cut(text), 2], cut)
    with pytest.raises(ValueError, match="rejected has 4 tokens here and 5 in its reference; run sec_reference again"):
        encode(dataclasses.replace(PAIR, rejected_tokens=5))

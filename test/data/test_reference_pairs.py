import dataclasses
import json

import pytest

from espnet2_secap.data.reference_pairs import (
    ReferencePair,
    parse_pairs,
    read_reference_pairs,
    write_reference_pairs,
)
from espnet2_secap.errors import SecError

PAIR = ReferencePair("说情感。", "高兴", "悲伤", -3.25, -4.0, 3, 4, "factuality", "rule", 1.0)
ROW = dataclasses.asdict(PAIR)


def test_what_is_written_is_read(tmp_path):
    pairs = {"u2": [PAIR], "u1": [PAIR, dataclasses.replace(PAIR, rejected='愤怒"\\', rejected_reference=-7)]}
    write_reference_pairs(tmp_path / "pairs", pairs)
    assert (tmp_path / "pairs").read_text(encoding="utf-8").startswith('u1 [{"prompt": "说情感。", "chosen": "高兴"')
    assert read_reference_pairs(tmp_path / "pairs") == pairs


def without(*names):
    return {key: value for key, value in ROW.items() if key not in names}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("高兴", "is not JSON; make the file with sec_reference"),
        ("[]", "is not a list of one or more pairs"),
        ('["高兴"]', "is not a list of one or more pairs"),
        ([without("chosen_reference", "rejected_reference")], "without chosen_reference and rejected_reference"),
        ([ROW, without("rejected_reference")], "has pairs without rejected_reference, the reference's log-prob"),
        ([without("chosen_tokens")], "lacks chosen_tokens"),
        ([ROW | {"score": 1}], "has the unknown field score"),
        ([ROW | {"chosen": 3}], "chosen 3: is no text"),
        ([ROW | {"chosen_tokens": 2.5}], "chosen_tokens 2.5: is no number"),
        ([ROW | {"chosen_reference": True}], "chosen_reference True: is no number"),
        ([ROW | {"chosen_reference": float("nan")}], "chosen_reference nan: is not finite"),
        ([ROW | {"rejected": " \u200b"}], "rejected is empty"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_place(tmp_path, value, said):
    value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    with pytest.raises(ValueError, match=said):
        parse_pairs(value)
    (tmp_path / "pairs").write_text(f"u1 {json.dumps([ROW])}\nu2 {value}\n", encoding="utf-8")
    with pytest.raises(SecError, match=f"^{tmp_path}/pairs:2: u2: .*{said}"):
        read_reference_pairs(tmp_path / "pairs")

import pytest

from espnet2_secap.metric.segment import SEGMENTERS


@pytest.mark.parametrize(
    "segment, caption, tokens",
    [
        ("char", "语速快，很 开心。", "语 速 快 ， 很 开 心 。"),
        ("char", "有 an 语气", "有 a n 语 气"),
        ("char", " \t\u3000\n", ""),
        ("char", "好😀|||\"'", "好 😀 | | | \" '"),
        ("word", "A  Happy\tvoice,\n loud ", "a happy voice, loud"),
        ("word", "语速 很快", "语速 很快"),
        ("word", "", ""),
    ],
)
def test_segments(segment, caption, tokens):
    assert SEGMENTERS[segment](caption) == tokens

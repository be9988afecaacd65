import pytest

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.segment import SEGMENTERS, segmenter

needs_java = pytest.mark.needs("java")


@pytest.mark.parametrize(
    "segment, caption, tokens",
    [
        ("char", "语速快，很 开心。", "语 速 快 ， 很 开 心 。"),
        ("char", "有 an 语气", "有 a n 语 气"),
        ("char", " \t\u3000\n", ""),
        ("char", "好😀|||\"'", "好 😀 | | | \" '"),
        (
            "char_word",
            "语速快，有 An 'odd' tone, isn't it？3.5倍",
            "语 速 快 ， 有 an ' odd ' tone , isn't it ？ 3 . 5 倍",
        ),
        ("char_word", "とても嬉しい。 매우 기뻐요 𠮷", "と て も 嬉 し い 。 매 우 기 뻐 요 𠮷"),
        ("char_word", "Очень рад,très  heureux", "очень рад , très heureux"),
        ("char_word", " \t\u3000\n", ""),
        ("word", "A  Happy\tvoice,\n loud ", "a happy voice, loud"),
        ("word", "语速 很快", "语速 很快"),
        ("word", "", ""),
        ("jieba", "语速较快，声音高亢", "语速 较 快 ， 声音 高亢"),
        ("jieba", " \n", ""),
    ],
)
def test_segments(segment, caption, tokens):
    assert SEGMENTERS[segment](caption) == tokens
    assert segmenter(segment, [caption, "x", caption])(caption) == tokens


@needs_java
def test_ptb_drops_case_and_punctuation():
    captions = ["The speaker isn't HAPPY; she's \"sad\" -- really...", "A well-known voice, at $3.50!"]
    segment = segmenter("ptb", captions)
    assert segment(captions[0]) == "the speaker is n't happy she 's sad really"
    assert segment(captions[1]) == "a well-known voice at $ 3.50"


@needs_java
def test_ptb_equals_the_coco_tools():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = ["A man's (loud) voice, ANGRY!", "He is sad; she isn't.", "no", 'it costs $5.00 -- "cheap"']
    wanted = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(captions)})
    segment = segmenter("ptb", captions)
    assert [segment(text) for text in captions] == [wanted[i][0] for i in range(len(captions))]


@needs_java
def test_ptb_takes_odd_captions():
    odd = [
        "",
        " \t ",
        "\n\n",
        "...",
        "|||",
        "a\tb\u2028c\x85d\x00e",
        "好😀 \ud800",
        "'\"\\",
        "word " * 10000,
        "x" * 10000,
    ]
    segment = segmenter("ptb", [*odd, "last"])
    assert [segment(text) for text in odd[:5]] == ["", "", "", "", "| | |"]
    assert segment(odd[5]) == "a b c d e"
    assert segment(odd[8]).split() == ["word"] * 10000
    assert segment("last") == "last"


def test_ptb_without_java_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailable, match="needs Java"):
        segmenter("ptb", ["x"])

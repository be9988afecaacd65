import pytest

from espnet2_secap.metric.normalize import FORMS, mixed_forms, normalizer, says_something, spoken

NFD, NFC = "e\u0301", "\u00e9"


def test_forms():
    texts = [NFD, NFC, "Ａ，１", "A,1", "\u3000x"]
    assert FORMS == ("nfc", "nfkc", "none")
    assert list(map(normalizer("none"), texts)) == texts
    assert list(map(normalizer("nfc"), texts)) == [NFC, NFC, "Ａ，１", "A,1", "\u3000x"]
    assert list(map(normalizer("nfkc"), texts)) == [NFC, NFC, "A,1", "A,1", " x"]


@pytest.mark.parametrize("caption", ["", " \t\n", "\u3000", "...", "。，！", "-", "“”", "\u200b\ufeff", "\x00", "|~`^"])
def test_blanks_and_punctuation_say_nothing(caption):
    assert not says_something(caption) and spoken(caption, str) == ""


@pytest.mark.parametrize("caption", ["a", "高", "1", "😀", "…é", "안", "\u0639"])
def test_letters_digits_and_pictographs_say_something(caption):
    assert says_something(caption) and spoken(caption, normalizer("nfkc")) == normalizer("nfkc")(caption)


@pytest.mark.parametrize(
    ("captions", "found"),
    [
        (["她很高兴，开心", "很高兴，平静"], 0),  # one form throughout: nothing would change between them
        (["她很高兴，开心", "很高兴,开心", "难过，", "平静"], 1),  # the rarer one
        (["她很高兴，开心", "很高兴,开心", "好,好"], 1),
        (["ＡＢ", "ab", "c"], 1),
        (["x…", "y...", "z..."], 1),
        (["a\u3000b", "a b"], 0),  # blanks separate in either form
        ([NFC, NFD], 0),  # NFC sees to these
        (["a，", "a，", "a,"], 1),
        ([], 0),
    ],
)
def test_captions_in_two_widths_are_counted(captions, found):
    assert mixed_forms(captions) == (found, len(set(captions)))

"""The script of a text by the names of its letters."""

import pytest

from espnet2_secap.data.script import in_script


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("语速较快，情绪愤怒", {"zh", "yue", "ja", "ko"}),  # Chinese characters alone: four languages have them
        ("怒っているように聞こえます", {"ja"}),
        ("화난 목소리로 빠르게 말한다", {"ko"}),
        ("Angry, and fast", {"en", "fr", "de"}),
        ("ＡＮＧＲＹ", {"en", "fr", "de"}),
        ("говорит быстро", {"ru"}),
        ("像 Tom 一样生气", {"zh", "yue", "ja", "ko"}),
    ],
)
def test_scripts(text, fits):
    assert {lang for lang in ("zh", "yue", "ja", "ko", "en", "fr", "de", "ru") if in_script(text, lang)} == fits


def test_half_of_the_letters_are_enough_and_one_fewer_is_not():
    assert in_script("生气ab", "zh") and not in_script("生气abc", "zh")


def test_what_has_no_letters_or_no_known_script_fits():
    assert in_script("123，！", "zh") and in_script("", "en") and in_script("语速", "xx")

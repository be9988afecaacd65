import pytest

from espnet2_secap.metric.words import load_words, named
from espnet2_secap.metric.wrong_captions import wrong_captions

CAPTIONS = {
    f"u{i}": [f"语速较{'快' if i % 2 else '慢'}，情绪{'愤怒' if i % 3 else '悲伤'}", "说话人在说话"] for i in range(60)
}
WORDS = load_words("zh")


def wrong(utt, caption) -> list[str]:
    """Attributes of which a caption names a category that the true ones do not."""
    true = {name: {one for text in CAPTIONS[utt] for one in named(text, words)} for name, words in WORDS.items()}
    return [name for name, words in WORDS.items() if not words.parent and set(named(caption, words)) - true[name]]


def test_a_share_of_the_captions_names_one_wrong_attribute():
    changed, count = wrong_captions(CAPTIONS, 0.5, "zh", 0)
    found = [(utt, wrong(utt, some[0])) for utt, some in changed.items() if some[0] != CAPTIONS[utt][0]]
    assert len(found) == count and 15 < count < 45 and all(names for _, names in found)
    assert {name for _, names in found for name in names} == {"emotion", "rate"}
    assert all(some[1] == "说话人在说话" for some in changed.values()), "what names nothing stays as it is"


def test_the_draw_is_the_seeds_and_the_utterances():
    changed, _ = wrong_captions(CAPTIONS, 0.5, "zh", 0)
    assert changed == wrong_captions(CAPTIONS, 0.5, "zh", 0)[0] != wrong_captions(CAPTIONS, 0.5, "zh", 1)[0]


@pytest.mark.parametrize("share, count", [(0.0, 0), (1.0, 60)])
def test_none_and_all(share, count):
    changed, found = wrong_captions(CAPTIONS, share, "zh", 0)
    assert found == count and (changed == CAPTIONS) == (not count)

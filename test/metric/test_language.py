"""Kind 15: the language of the captions decides words, segmentation, metrics and instructions; any language works."""

import json

import pytest

from espnet2_secap.bin import sec_score
from espnet2_secap.errors import SecError
from espnet2_secap.metric.language import language
from espnet2_secap.metric.registry import DEFAULT
from espnet2_secap.metric.segment import SEGMENTERS
from espnet2_secap.metric.words import load_words, named

RECALL = {"emotion_recall", "emotion_quadrant_accuracy", "emotion_ser6_recall", "rate_recall", "volume_recall"}


@pytest.mark.parametrize(
    "code, words, segment, prompts, without",
    [
        ("zh", "zh", "char", "zh", set()),
        ("en", "en", "ptb", "en", set()),
        ("ja", "ja", "char", "ja", {"meteor"}),
        ("fr", "none", "char_word", "en", {"meteor"} | RECALL),
        ("ko", "none", "char_word", "en", {"meteor"} | RECALL),
        ("th", "none", "char", "en", {"meteor"} | RECALL),
    ],
)
def test_what_a_language_sets(code, words, segment, prompts, without):
    chosen = language(code)
    assert (chosen.words, chosen.segment, chosen.prompts) == (words, segment, prompts)
    assert set(DEFAULT) - set(chosen.metrics(recall=words != "none")) == without and segment in SEGMENTERS


def test_what_is_left_out_is_said_with_the_way_to_add_it():
    assert language("zh").notes() == language("en").notes() == []
    words, prompts, metrics = language("fr").notes()
    assert "rows of recall are left out" in words and "--words FILE" in words
    assert "those in en are taken" in prompts and "--prompts FILE" in prompts
    assert "METEOR and SPICE" in metrics and "--metrics" in metrics
    assert language("fr").notes(words=False, prompts=False) == [metrics]
    assert [note.split(": ")[1][:6] for note in language("ja").notes()] == ["METEOR"]


def test_another_code_of_a_language_is_not_taken_for_one_without_words():
    for code, meant in {"cn": "zh", "jp": "ja", "eng": "en", "zho": "zh"}.items():
        with pytest.raises(SecError, match=rf"--lang '{code}': .* \(did you mean {meant}\?\)"):
            language(code)


@pytest.mark.parametrize("code", ["", "EN", "english", "Chinese", "zh-CN", "x", "../zh", "1"])
def test_what_is_no_code_of_a_language(code):
    with pytest.raises(SecError, match="--lang .*must be a code of two or three small letters") as err:
        language(code)
    assert ("did you mean" in str(err.value)) == (code[:2].lower() in ("en", "zh", "ch"))


def score(folder, *options):
    (folder / "ref").write_text('a ["怒りを含んだ大きな声で話している。"]\nb ["悲しそうで、ゆっくりした口調だ。"]\n')
    (folder / "hyp").write_text('a ["怒っていて、声が大きい。"]\nb ["嬉しそうに早口で話している。"]\n')
    sec_score.main(["--ref", f"{folder}/ref", "--hyp", f"{folder}/hyp", "--output", f"{folder}/score.json", *options])
    read = [json.loads((folder / name).read_text()) for name in ("score.json", "score_meta.json")]
    return {name: value["mean"] for name, value in read[0].items()}, read[1]


def test_japanese_captions_are_scored_by_japanese_words_and_characters(tmp_path):
    values, meta = score(tmp_path, "--lang", "ja")
    assert (meta["segment"], meta["words"], meta["lang"]) == ("char", "ja", "ja")
    assert "meteor" not in values and values["bleu_1"] > 20
    assert (values["emotion_recall"], values["rate_recall"], values["volume_recall"]) == (50, 0, 100)


def test_of_a_language_without_words_recall_is_left_out_and_can_be_added(tmp_path):
    values, meta = score(tmp_path, "--lang", "ko")
    assert not RECALL & set(values) and (meta["segment"], meta["words"]) == ("char_word", "none")
    values, meta = score(tmp_path, "--lang", "ko", "--words", "ja", "--segment", "char", "--metrics", "emotion_recall")
    assert values == {"emotion_recall": 50} and meta["segment"] == "char"


@pytest.mark.parametrize(
    "caption, emotion, rate, volume, pitch",
    [
        ("怒りは感じられない、冷静な話し方。", ["calm"], [], [], []),
        ("悲しくはないが、少し不安そうな口調で、声は小さい。", ["anxious"], [], ["quiet"], []),
        ("喜びではなく悲しみを感じさせる、ゆっくりとした低い声。", ["sad"], ["slow"], [], ["low"]),
        ("驚いていないが、声のトーンは高い。", [], [], [], ["high"]),
        ("話者は落ち着いた様子で、話す速度は普通だ。", ["calm"], ["normal"], [], []),
        ("期待に胸を膨らませ、興奮気味に早口で話す。", ["hopeful", "excited"], ["fast"], [], []),
    ],
)
def test_japanese_words_and_their_negations_which_follow_the_word(caption, emotion, rate, volume, pitch):
    found = {name: named(caption, categories) for name, categories in load_words("ja").items() if not categories.parent}
    assert found == {"emotion": emotion, "rate": rate, "volume": volume, "pitch": pitch}

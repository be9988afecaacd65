import pytest

from espnet2_secap.metric.faithfulness import KINDS, HumanCaptions, faults, script, tokens
from espnet2_secap.metric.words import load_words

ZH = ["语速较快，声音高亢，情绪中带着愤怒", "她难过地低声说话，语速缓慢", "语气平静，语速适中，听起来很放松"]
EN = ["She sounds angry and speaks quickly.", "A sad, quiet voice that speaks slowly.", "He is calm; his voice is low."]
JA = ["怒った声で早口に話しています", "悲しそうに小さな声で話している", "落ち着いた口調で、ゆっくり話している"]
SPOKEN = {
    "zh": "谁让你动我的电脑",
    "en": "Who told you to touch my computer?",
    "ja": "どうして私の時計に触ったのですか",
}
ASKED = {
    "zh": ["请用一句话描述这段语音中说话人的情感。"],
    "en": ["Describe the speaker's emotion in one sentence."],
    "ja": ["この音声の話者の感情を一文で述べてください。"],
}
HUMAN = {"zh": ZH, "en": EN, "ja": JA}
CASES = [
    ("zh", "语速很快，愤怒", {}),
    ("zh", "", {"empty"}),
    ("zh", " 。…", {"empty"}),
    ("zh", "她很愤怒" * 9, {"length", "repetition"}),
    ("zh", "语气愤怒，语速快，语气愤怒", {"repetition"}),
    ("zh", "The speaker is angry", {"language"}),
    ("zh", "とても怒っているようです", {"language"}),
    ("zh", "她说谁让你动我的电脑", {"transcription"}),
    ("zh", "谁让你", {}),  # three tokens may be chance
    ("zh", "好的，描述这段语音中说话人的情感", {"instruction"}),
    ("en", "An angry voice", {}),
    ("en", "...", {"empty"}),
    ("en", "angry voice, angry voice, " * 9, {"length", "repetition"}),
    ("en", "语速很快，愤怒", {"language"}),
    ("en", "He says: who told you to touch my COMPUTER", {"transcription"}),
    ("en", "Describe the speaker's emotion in one sentence", {"instruction"}),
    ("ja", "怒っている", {}),
    ("ja", "怒声", {}),  # a short caption may lack kana
    ("ja", "语速较快情绪愤怒", {"language"}),
    ("ja", "She is angry", {"language"}),
    ("ja", "「どうして私の時計に触ったのですか」と話す", {"transcription"}),
    ("ja", "この音声の話者の感情を一文で述べてください", {"instruction"}),
]


@pytest.mark.parametrize("language, caption, kinds", CASES)
def test_faults_by_hand(language, caption, kinds):
    human = HumanCaptions(HUMAN[language])
    assert faults(caption, human, SPOKEN[language], ASKED[language]).keys() == set(kinds)


@pytest.mark.parametrize("language", HUMAN)
def test_captions_of_people_have_no_faults(language):
    human = HumanCaptions(HUMAN[language])
    for caption in HUMAN[language]:
        assert faults(caption, human, SPOKEN[language], ASKED[language]) == {}


def test_the_words_that_show_it():
    human = HumanCaptions(ZH)
    assert faults("她说谁让你动我的电脑", human, SPOKEN["zh"]) == {"transcription": "谁让你动我的电脑"}
    assert faults("她很愤怒她很愤怒她", human) == {"repetition": "她很愤怒"}
    english = faults("who told you to touch the computer", HumanCaptions(EN), SPOKEN["en"])
    assert english == {"transcription": "who told you to touch"}


def test_length_is_that_of_99_per_cent_of_people():
    tens = ["快" * 9 + chr(ord("一") + at) for at in range(99)]
    human = HumanCaptions([*tens, "快" * 100])  # the 99th of 100 different ones has 10 letters: 15 are not too long
    assert human.longest == 15
    assert not human.too_long("快" * 15 + "，。") and human.too_long("快" * 16)


def test_what_people_say_too_is_not_repeated_from_the_transcription():
    human = HumanCaptions([*ZH, "她说谁让你动我的电脑，很愤怒"])
    assert human.repeated("谁让你动我的电脑", SPOKEN["zh"]) == ""
    assert HumanCaptions(ZH).repeated("谁让你动我的电脑", SPOKEN["zh"]) == "谁让你动我的电脑"


def test_eight_tokens_of_a_long_transcription_are_a_repetition_and_seven_are_not():
    human, spoken = HumanCaptions(ZH), "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"
    assert human.repeated("天地玄黄宇宙洪荒啊", spoken) == "天地玄黄宇宙洪荒" and not human.repeated(
        "天地玄黄宇宙洪啊", spoken
    )
    assert human.repeated("乾坤", "乾坤") == "乾坤"  # the whole text, however short


def test_languages_of_one_script_are_told_apart_by_many_words_only():
    many = [
        " ".join(f"{chr(97 + at // 26)}{chr(97 + at % 26)}word" for at in range(start, start + 10))
        for start in range(0, 120, 10)
    ]
    french = "la femme parle tristement et lentement"
    assert "language" not in faults(french, HumanCaptions(EN))
    assert faults(french, HumanCaptions([*EN, *many])) == {"language": french}
    assert faults(french, HumanCaptions([*EN, *many], ["femme", "parle", "et lentement"])) == {}


def test_words_of_the_words_file_belong_to_the_language():
    words = [word for own in load_words("zh")["emotion"].values() for word in own]
    assert HumanCaptions(ZH * 50, words).vocabulary > HumanCaptions(ZH).vocabulary


def test_tokens_and_scripts():
    assert tokens("她Ａngry, 很don't！") == ["她", "angry", "很", "don't"]
    assert [script(one) for one in "語かカーaéж한"] == [
        "CJK",
        "KANA",
        "KANA",
        "KANA",
        "LATIN",
        "LATIN",
        "CYRILLIC",
        "HANGUL",
    ]
    assert "attributes" in KINDS


def test_without_captions_of_people_nothing_is_foreign_or_long():
    assert faults("anything 什么 " + "x" * 1000, HumanCaptions([])) == {}

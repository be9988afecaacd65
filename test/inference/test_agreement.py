import json

import pytest

from espnet2_secap.decoder.options import AgreementOptions, SetOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.agreement import options_of, read_agreement, words_digest


def test_what_texts_name():
    agreement = read_agreement(AgreementOptions(agreement=0.5, agreement_attributes="rate emotion rate"))
    assert agreement.weight == 0.5
    assert agreement.named(["语速较快，情绪愤怒", "平静"]) == [[["fast"], []], [["angry"], ["calm"]]]


def test_nothing_is_read_where_it_does_not_count():
    assert read_agreement(AgreementOptions(words="no/such/file")) is None
    assert words_digest(AgreementOptions(words="no/such/file")) is None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"words": "none.json"}, "none.json: no such words file; give a JSON file or one of: en, ja, zh"),
        ({"words": "none"}, "--agreement_attributes emotion: --words none has no such attribute; it has none"),
        (
            {"agreement_attributes": "rate mood"},
            "--agreement_attributes mood: --words zh has no such attribute; it has",
        ),
    ],
)
def test_words_without_the_attribute_are_one_line(options, message):
    with pytest.raises(SecError, match=message):
        read_agreement(AgreementOptions(agreement=1, **options))


def test_the_content_of_the_words_counts(tmp_path):
    path = tmp_path / "words.json"
    digests = []
    for word in ("高兴", "快乐"):
        path.write_text(json.dumps({"emotion": {"happy": [word]}}), encoding="utf-8")
        digests.append(words_digest(AgreementOptions(agreement=1, words=str(path))))
    assert digests[0] and digests[1] and digests[0] != digests[1]
    assert words_digest(AgreementOptions(agreement=1)) not in (None, *digests)


def test_the_options_of_a_decoding(tmp_path):
    def write(text):
        (tmp_path / "candidates.jsonl").write_text(text)

    given = SetOptions(keep=1, agreement=2.5, agreement_attributes="emotion", words="en")
    write(json.dumps({"header": vars(given), "id": "u"}) + "\n")
    assert options_of(tmp_path) == AgreementOptions(2.5, "emotion", "en")
    write(json.dumps({"header": {"keep": 1}, "id": "u"}) + "\n")  # an older one
    assert options_of(tmp_path) == AgreementOptions()
    for text, message in (
        ("", "its first line has no header"),
        ('{"id": "u"}\n', "its first line has no header"),
        ("[1]\n", "its first line has no header"),
        ('{"header": [1]}\n{}', "its first line has no header|must be"),
        ('{"header": {"agreement": "much"}}\n', "--agreement 'much': must be a number"),
    ):
        write(text)
        if text.startswith('{"header": [1]'):
            assert options_of(tmp_path) == AgreementOptions()
            continue
        with pytest.raises(SecError, match=message):
            options_of(tmp_path)
    with pytest.raises(SecError, match="no such file; give the output folder of sec_inference"):
        options_of(tmp_path / "none")

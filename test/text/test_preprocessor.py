import json

import numpy as np
import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.clues import clues_by
from espnet2_secap.text.pairs import PairEncoder
from espnet2_secap.text.preprocessor import SECPreprocessor

SPEECH = np.zeros((3, 2))


def cut(text: str) -> list[int]:
    return [ord(c) for c in text]


CAPTION = {"caption": lambda text: [*cut(text), 2]}
TEXT = {"caption": cut, "text": cut}


def test_second_stage_draws_caption_and_instruction_per_utterance():
    train = SECPreprocessor(True, CAPTION, [cut("p"), cut("q"), cut("r")])
    outputs = [train(f"u{i}", {"speech": SPEECH, "caption": '["a", "bc"]'}) for i in range(60)]
    assert {tuple(one["caption"]) for one in outputs} == {(97, 2), (98, 99, 2)}
    assert {tuple(one["instruction"]) for one in outputs} == {(112,), (113,), (114,)}
    valid = SECPreprocessor(False, CAPTION, [cut("p"), cut("q")])
    fixed = [valid("u", {"speech": SPEECH, "caption": '["a", "bc"]'}) for _ in range(5)]
    assert {(tuple(one["caption"]), tuple(one["instruction"])) for one in fixed} == {((97, 2), (112,))}


def test_a_draw_depends_on_seed_epoch_and_utterance_alone():
    captions = json.dumps([f"{i}" for i in range(50)])

    def draws(seed, epoch, utts):
        train = SECPreprocessor(True, TEXT, seed=seed)
        train.set_epoch(epoch)
        return {utt: tuple(train(utt, {"speech": SPEECH, "caption": captions})["caption"]) for utt in utts}

    utts = [f"u{i}" for i in range(40)]
    once = draws(0, 1, utts)
    assert once == draws(0, 1, utts[::-1]) and len(set(once.values())) > 15
    assert draws(0, 1, ["u7"])["u7"] == once["u7"], "whatever came before"
    assert once != draws(1, 1, utts) and once != draws(0, 2, utts)


def test_speech_that_is_not_finite_is_refused_by_its_id():
    for value in (np.nan, np.inf):
        with pytest.raises(SecError, match="speech: u7: has values that are not finite"):
            SECPreprocessor(True, {})("u7", {"speech": np.array([[1.0, value]], dtype=np.float32)})
    large = np.full((4, 4), 3e38, dtype=np.float32)  # whose sum is not finite
    assert SECPreprocessor(True, {})("u7", {"speech": large})["speech"].shape == (4, 4)


def test_first_stage():
    output = SECPreprocessor(True, TEXT, emotions=["angry", "sad"])(
        "u", {"speech": SPEECH, "caption": '["a"]', "text": "xy", "emotion": "sad"}
    )
    assert output["caption"].tolist() == [97] and output["text"].tolist() == [120, 121]
    assert output["emotion"].tolist() == [1]


def test_emotions_are_ignored_where_no_loss_needs_them():
    output = SECPreprocessor(True, {"text": cut})("u", {"speech": SPEECH, "text": "xy", "emotion": "sad"})
    assert set(output) == {"speech", "text"}


@pytest.mark.parametrize(
    "data, message",
    [
        ({"caption": "not json"}, "captions: u7: is not JSON"),
        ({"caption": "[]"}, "captions: u7: has no caption"),
        ({"caption": '["a"]', "emotion": "bored"}, "utt2emo: u7: category 'bored'"),
    ],
)
def test_bad_lines_are_named(data, message):
    with pytest.raises(SecError, match=message):
        SECPreprocessor(True, TEXT, emotions=["sad"])("u7", {"speech": SPEECH, **data})


def test_attributes_are_of_all_captions():
    heard = []
    one = SECPreprocessor(True, TEXT, attributes=lambda captions: heard.append(captions) or np.ones(3, np.float32))
    output = one("u", {"speech": SPEECH, "caption": '["a", "bc"]'})
    assert heard == [["a", "bc"]] and output["attributes"].tolist() == [1, 1, 1]
    assert "attributes" not in one("u", {"speech": SPEECH})


def test_classes_take_the_place_of_emotions():
    one = SECPreprocessor(True, TEXT, emotions=["high", "low"], classes={"sad": "low", "angry": "high"})
    numbers = [one("u", {"speech": SPEECH, "emotion": emotion})["emotion"].tolist() for emotion in ("sad", "angry")]
    assert numbers == [[1], [0]]


def clued(train: bool, *, dropout: float = 0.0, names=("clues",)) -> SECPreprocessor:
    encode = {"caption": cut} | dict.fromkeys(names, cut)
    return SECPreprocessor(train, encode, clues=clues_by("en"), clues_dropout=dropout)


def test_clues_are_those_of_the_caption_that_is_drawn():
    captions = json.dumps(["she is sad", "an angry, loud voice", "somebody speaks"])
    pairs = {"she is sad": "Feeling sad.", "an angry, loud voice": "Feeling angry, loud.", "somebody speaks": ""}
    for train in (True, False):
        outputs = [clued(train)(f"u{i}", {"speech": SPEECH, "caption": captions}) for i in range(40)]
        read = {tuple("".join(map(chr, one[name])) for name in ("caption", "clues")) for one in outputs}
        assert read == (set(pairs.items()) if train else {("she is sad", "Feeling sad.")})
    plain = SECPreprocessor(True, {"caption": cut})
    for utt in ("u1", "u2", "u3"):  # the draws are those of a training without clues
        data = {"speech": SPEECH, "caption": captions}
        assert plain(utt, data)["caption"].tolist() == clued(True)(utt, data)["caption"].tolist()


def test_clues_of_a_file_take_their_place():
    data = {"speech": SPEECH, "caption": '["she is sad"]', "clues": '["calm", "slow"]'}
    assert "".join(map(chr, clued(True)("u", data)["clues"])) == "Feeling calm, slow."
    empty = clued(True)("u", data | {"clues": "[]"})["clues"]
    assert empty.shape == (0,) and empty.dtype == np.int64
    with pytest.raises(SecError, match="clues: u7: is not a list of clues"):
        clued(True)("u7", data | {"clues": '["a", 1]'})


def test_some_utterances_are_read_without_clues():
    data = {"speech": SPEECH, "caption": '["she is sad"]'}

    def read(train, epoch):
        one = clued(train, dropout=0.3, names=("clues", "teacher_clues"))
        one.set_epoch(epoch)
        outputs = [one(f"u{i}", data) for i in range(400)]
        assert all(len(output["teacher_clues"]) for output in outputs)
        return [len(output["clues"]) > 0 for output in outputs]

    first, second = read(True, 1), read(True, 2)
    assert 0.6 < sum(first) / 400 < 0.8 and first != second and first == read(True, 1)
    assert 0.6 < sum(read(False, 1)) / 400 < 0.8 and read(False, 1) == read(False, 2)


def pairs_of(*rejected):
    """Pairs of one chosen caption, as a line's value; references are the place in the list."""
    row = dict(prompt="p", chosen="a", chosen_tokens=2, type="factuality", source="rule", margin=1.0)
    rows = [
        row | {"rejected": one, "rejected_tokens": len(one) + 1, "chosen_reference": -1.0, "rejected_reference": -at}
        for at, one in enumerate(rejected)
    ]
    return json.dumps(rows)


def test_one_pair_is_drawn_with_its_own_prompt_and_reference():
    value, encode = pairs_of("b", "cc", "ddd"), PairEncoder(CAPTION["caption"], cut)
    train = SECPreprocessor(True, CAPTION, [cut("q")], pairs=encode)
    found = {}
    for utt in range(60):
        one = train(f"u{utt}", {"speech": SPEECH, "pairs": value})
        assert one["instruction"].tolist() == cut("p") and one["chosen"].tolist() == [97, 2]
        found.setdefault(tuple(one["rejected"]), set()).add(float(one["pair_reference"][1]))
    assert found == {(98, 2): {0.0}, (99, 99, 2): {-1.0}, (100, 100, 100, 2): {-2.0}}
    train.set_epoch(1)
    first = [train(f"u{i}", {"speech": SPEECH, "pairs": value})["rejected"].tolist() for i in range(20)]
    train.set_epoch(2)
    assert first != [train(f"u{i}", {"speech": SPEECH, "pairs": value})["rejected"].tolist() for i in range(20)]
    valid = SECPreprocessor(False, CAPTION, [cut("q")], pairs=encode)
    assert all(valid(f"u{i}", {"speech": SPEECH, "pairs": value})["rejected"][0] == 98 for i in range(5))


def test_pairs_that_cannot_be_read_are_named_by_their_id():
    train = SECPreprocessor(True, CAPTION, pairs=PairEncoder(cut, cut))
    with pytest.raises(SecError, match="^pairs: u7: is not JSON; make the file with sec_reference"):
        train("u7", {"speech": SPEECH, "pairs": "b"})
    with pytest.raises(SecError, match="^pairs: u7: chosen has 1 tokens here and 2 in its reference"):
        train("u7", {"speech": SPEECH, "pairs": pairs_of("b")})
    assert "rejected" not in SECPreprocessor(True, CAPTION)("u7", {"speech": SPEECH, "pairs": pairs_of("b")})

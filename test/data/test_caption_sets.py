import json

import pytest

from espnet2_secap.data.caption_sets import choose_captioned, join_captions, write_caption_set
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.errors import SecError

IDS = [f"u{i:02d}" for i in range(30)]
CLASSES = {utt: ("sad", "calm", "happy")[i % 3] for i, utt in enumerate(IDS)}


def test_the_same_fraction_of_each_category():
    kept = choose_captioned(IDS, CLASSES, 0.3, 0)
    assert kept == sorted(kept) and len(set(kept)) == 9
    assert sorted(CLASSES[utt] for utt in kept) == ["calm"] * 3 + ["happy"] * 3 + ["sad"] * 3


def test_a_smaller_fraction_is_among_a_larger_one():
    """So that runs with a tenth and with a thirtieth of the captions can be compared."""
    tenth, third = choose_captioned(IDS, CLASSES, 0.1, 0), choose_captioned(IDS, CLASSES, 1 / 3, 0)
    assert set(tenth) < set(third) and len(tenth) == 3 and choose_captioned(IDS, CLASSES, 1.0, 0) == IDS


def test_the_draw_is_the_seeds():
    assert choose_captioned(IDS[::-1], CLASSES, 0.3, 1) == choose_captioned(IDS, CLASSES, 0.3, 1)
    assert choose_captioned(IDS, CLASSES, 0.3, 1) != choose_captioned(IDS, CLASSES, 0.3, 0)


def test_each_category_keeps_one():
    assert len(choose_captioned(IDS, CLASSES, 0.001, 0)) == 3
    assert len(choose_captioned(IDS, {}, 0.001, 0)) == 1
    assert choose_captioned(IDS, CLASSES, 0, 0) == []


def test_others_take_the_place_of_what_is_not_kept():
    own = {"a": ["own a"], "b": ["own b"], "c": ["own c"]}
    assert join_captions(own, {"a"}, {"a": ["no"], "b": ["other b"]}) == {"a": ["own a"], "b": ["other b"]}
    with pytest.raises(SecError, match="1 utterances are none of the set's"):
        join_captions(own, {"a"}, {"d": ["x"]})


def make(folder, features):
    folder.mkdir(parents=True)
    table = (
        {"utt2spk": "spk", "feats.scp": "x.ark:1"} if features else {"utt2spk": "spk", "wav.scp": "x.wav", "text": "是"}
    )
    for name, value in table.items():
        (folder / name).write_text("".join(f"{utt} {value}\n" for utt in IDS), encoding="utf-8")
    if features:
        (folder / "config.json").write_text("{}\n")
    else:
        (folder / "captions").write_text("".join(f'{utt} ["{utt}", "二"]\n' for utt in IDS), encoding="utf-8")


def test_the_set_is_made_beside_the_folder(tmp_path):
    captions = {"u01": ["一"], "u07": ["七", "7"]}
    for name in ("raw", "hubert"):
        make(tmp_path / name / "train", name == "hubert")
        assert write_caption_set(tmp_path / name / "train", "few", captions) == tmp_path / name / "few"
    assert read_captions(tmp_path / "raw" / "few" / "captions") == captions
    assert list(read_kaldi(tmp_path / "hubert" / "few" / "feats.scp")) == ["u01", "u07"]
    assert json.loads((tmp_path / "hubert" / "few" / "config.json").read_text()) == {}
    assert not (tmp_path / "hubert" / "few" / "captions").exists()
    assert len(read_captions(tmp_path / "raw" / "train" / "captions")) == 30


def test_a_set_may_be_made_again_and_no_other_is_overwritten(tmp_path):
    for name in ("train", "valid"):
        make(tmp_path / name, False)
    for text in ("x", "y"):
        write_caption_set(tmp_path / "train", "few", {"u01": [text]})
    assert read_captions(tmp_path / "few" / "captions") == {"u01": ["y"]}
    with pytest.raises(SecError, match="valid: is there, and is no set that was made like this; give another --name"):
        write_caption_set(tmp_path / "train", "valid", {"u01": ["x"]})
    assert len(read_captions(tmp_path / "valid" / "captions")) == 30


def test_bad_sets(tmp_path):
    make(tmp_path / "train", False)
    with pytest.raises(SecError, match="would be its own copy; give another --name"):
        write_caption_set(tmp_path / "train", "train", {"u01": ["x"]})
    with pytest.raises(SecError, match=r"lacks 1 of the utterances \(v\)"):
        write_caption_set(tmp_path / "train", "few", {"v": ["x"]})

import pytest

from espnet2_secap.bin import sec_inference
from espnet2_secap.errors import SecError
from espnet2_secap.inference.outputs import NAME, combine, other_audio
from espnet2_secap.process.jobs import Journal


def test_an_empty_caption_is_kept(feats, tmp_path):
    rows = [{"id": f"u{i}", "candidates": [{"text": "" if i else "a", "score": 0.0}], "kept": 1} for i in range(7)]
    Journal(tmp_path, NAME, 1, 1, {"fingerprint": "x", "seed": 0}, [0]).add(0, rows)
    assert combine(tmp_path, feats, 1) == 7
    assert (tmp_path / "captions").read_text().splitlines()[:2] == ['u0 ["a"]', 'u1 [""]']
    Journal(tmp_path, NAME, 1, 1, {"fingerprint": "x", "seed": 0}, [0]).add(0, rows[:5])
    with pytest.raises(SecError, match="2 utterances were not decoded"):
        combine(tmp_path, feats, 1)


def test_other_audio_is_never_ones_own():
    ids = [f"u{i}" for i in range(9)]
    others = other_audio(ids, seed=1)
    assert sorted(others.values()) == ids and all(a != b for a, b in others.items())
    assert others == other_audio(ids[::-1], seed=1) != other_audio(ids, seed=2)
    with pytest.raises(SecError, match="at least two"):
        other_audio(["u0"], seed=0)


def test_kind_13_a_set_of_one_is_refused_for_shuffled_audio_before_anything_is_decoded(tmp_path, capsys):
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    options = ["--data_dir", tmp_path, "--output_dir", tmp_path / "o", "--shuffled_audio_dir", tmp_path / "s"]
    with pytest.raises(SystemExit):
        sec_inference.main([*map(str, options), "--sec_model_file", "none.pth"])
    assert "--shuffled_audio false" in capsys.readouterr().err

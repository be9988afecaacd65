"""Dumped audio and features: what is read, and the one line for what cannot be."""

import os
import re

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet2_secap.data.utterances import Utterances, scp_of
from espnet2_secap.errors import SecError


@pytest.fixture
def raw(tmp_path):
    """dump/raw/test with two recordings."""
    for number, samples in enumerate((800, 500)):
        noise = np.random.default_rng(number).integers(-9999, 9999, samples).astype(np.int16)
        soundfile.write(tmp_path / f"u{number}.wav", noise, 16000)
    (tmp_path / "wav.scp").write_text(f"u0 {tmp_path}/u0.wav\nu1 {tmp_path}/u1.wav\n")
    (tmp_path / "utt2num_samples").write_text("u0 800\nu1 500\n")
    return tmp_path


@pytest.fixture
def feats(tmp_path):
    """dump/feats/test with the features of two utterances."""
    rng = np.random.default_rng(0)
    matrices = {f"u{i}": rng.standard_normal((4 + i, 3)).astype(np.float32) for i in range(2)}
    kaldiio.save_ark(str(tmp_path / "f.ark"), matrices, scp=str(tmp_path / "feats.scp"))
    (tmp_path / "utt2num_frames").write_text("u0 4\nu1 5\n")
    return matrices


def test_audio_is_read_as_it_is(raw):
    utterances = Utterances(raw)
    assert utterances.raw and utterances.ids == ["u0", "u1"] and utterances.lengths == {"u0": 800, "u1": 500}
    for utt in utterances.ids:
        samples = utterances.read(utt)
        assert samples.dtype == np.float32
        assert np.array_equal(samples, soundfile.read(raw / f"{utt}.wav", dtype="float32")[0])
    assert list(utterances.batches(utterances.ids, 1)) == [["u1"], ["u0"]]


def test_features_come_first_unless_audio_is_asked_for(raw, feats):
    utterances = Utterances(raw)
    assert not utterances.raw and scp_of(raw).name == "feats.scp"
    assert all(np.array_equal(utterances.read(utt), feats[utt]) for utt in feats)
    assert Utterances(raw, raw=True).read("u0").shape == (800,)


@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        (np.zeros(800), 8000, "has 800 samples of 1 channel(s) at 8000 Hz, expected 800 of 1 at 16000 Hz"),
        (np.zeros((800, 2)), 16000, "has 800 samples of 2 channel(s)"),
        (np.zeros(700), 16000, "has 700 samples"),
    ],
)
def test_audio_that_is_not_as_stage_2_wrote_it(raw, samples, rate, said):
    soundfile.write(raw / "u0.wav", samples, rate)
    with pytest.raises(SecError, match=rf"u0.wav: u0: {re.escape(said)}.*; run stage 2 again"):
        Utterances(raw).read("u0")


def test_another_sampling_rate_is_accepted_where_it_is_expected(raw):
    soundfile.write(raw / "u0.wav", np.zeros(800), 24000)
    assert len(Utterances(raw, fs=24000).read("u0")) == 800


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 20])
def test_what_is_not_audio(raw, content):
    (raw / "u0.wav").write_bytes(content)
    with pytest.raises(SecError, match="u0.wav: u0: cannot be read as audio; run stage 2 again"):
        Utterances(raw).read("u0")


def test_audio_that_is_gone_or_closed(raw):
    (raw / "u0.wav").unlink()
    with pytest.raises(SecError, match="u0.wav: u0: cannot be read .No such file or directory.; run stage 2 again"):
        Utterances(raw).read("u0")
    (raw / "u1.wav").chmod(0)
    if os.access(raw / "u1.wav", os.R_OK):
        pytest.skip("needs a user other than root")
    with pytest.raises(SecError, match="u1.wav: u1: cannot be read .Permission denied.; run stage 2 again"):
        Utterances(raw).read("u1")


def test_features_that_are_not_as_stage_3_wrote_them(feats, tmp_path):
    (tmp_path / "utt2num_frames").write_text("u0 4\nu1 6\n")
    with pytest.raises(SecError, match="u1: has 5 frames, expected 6; run stage 3 again"):
        Utterances(tmp_path).read("u1")
    ark = (tmp_path / "f.ark").read_bytes()
    (tmp_path / "f.ark").write_bytes(ark[:-9])
    with pytest.raises(SecError, match="u1: is an incomplete or broken matrix .*; run stage 3 again"):
        Utterances(tmp_path).read("u1")
    (tmp_path / "f.ark").write_bytes(b"x" * 400)
    with pytest.raises(SecError, match="u0: holds no matrix; run stage 3 again") as err:
        Utterances(tmp_path).read("u0")
    assert "\n" not in str(err.value)


@pytest.mark.parametrize("content", ["u0 800\nu1 x\n", "u0 800\nu1 0\n", "u0 800\nu1 5.0\n", "u0 800\nu1\n", "", "\0"])
def test_a_broken_list_of_lengths_is_one_line(raw, content):
    (raw / "utt2num_samples").write_text(content)
    with pytest.raises(SecError, match="utt2num_samples.*; ") as err:
        Utterances(raw)
    assert "\n" not in str(err.value)


@pytest.mark.parametrize("name", ["wav.scp", "utt2num_samples"])
def test_lists_that_are_not_there_or_of_other_ids(raw, name):
    lines = (raw / name).read_text().splitlines()
    (raw / name).write_text(lines[0] + "\n")
    with pytest.raises(SecError, match=f"{name}: u1: is missing, .* has it; run stage 2 again"):
        Utterances(raw)
    (raw / name).unlink()
    with pytest.raises(SecError, match=f"{name}: does not exist; run stage 2 first"):
        Utterances(raw, raw=True)


def test_a_folder_with_neither(tmp_path):
    with pytest.raises(SecError, match="neither feats.scp .stage 3. nor wav.scp .stage 2. is there"):
        Utterances(tmp_path)

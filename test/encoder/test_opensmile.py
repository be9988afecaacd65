import sys

import numpy as np
import pytest
import torch

from espnet2_secap.encoder.opensmile import OpenSmileEncoder
from espnet2_secap.errors import SecError

FS = 16000
SIZES = {"eGeMAPSv02": (88, 25), "GeMAPSv01b": (62, 18), "ComParE_2016": (6373, 65)}


def voice(hertz, samples=FS):
    time = np.arange(samples) / FS
    return (0.1 * sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 12))).astype(np.float32)


def run(encoder, *waves):
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
    return encoder(padded, torch.tensor([len(wave) for wave in waves]))


def test_a_missing_package_is_named_with_its_licence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(SecError) as err:
        OpenSmileEncoder()
    assert str(err.value).startswith("OpenSmileEncoder: the package opensmile cannot be imported (")
    assert "pip install opensmile" in str(err.value) and "no commercial use" in str(err.value)
    assert "\n" not in str(err.value)


@pytest.mark.needs("opensmile")
@pytest.mark.parametrize("feature_set", SIZES)
def test_values_are_those_of_opensmile(feature_set):
    import opensmile

    functionals, lld = SIZES[feature_set]
    encoder = OpenSmileEncoder(feature_set, "both")
    assert encoder.output_size() == lld + functionals
    wave = voice(200.0)
    feats, lengths = run(encoder, wave)
    assert feats.shape == (1, 100, lld + functionals) and lengths.tolist() == [100]
    chosen = opensmile.FeatureSet[feature_set]
    expected = opensmile.Smile(chosen, opensmile.FeatureLevel.Functionals).process_signal(wave, FS)
    assert encoder.names()[lld:] == list(expected.columns)
    torch.testing.assert_close(feats[0, 50, lld:], torch.from_numpy(expected.to_numpy()[0]))
    frames = opensmile.Smile(chosen, opensmile.FeatureLevel.LowLevelDescriptors).process_signal(wave, FS).to_numpy()
    assert encoder.names()[:lld] != encoder.names()[lld:] and len(frames) == 96
    torch.testing.assert_close(feats[0, 2:98, :lld], torch.from_numpy(frames))
    assert torch.equal(feats[0, 0, :lld], feats[0, 2, :lld]) and torch.equal(feats[0, 99, :lld], feats[0, 97, :lld])


@pytest.mark.needs("opensmile")
def test_pitch_of_a_voice():
    encoder = OpenSmileEncoder()
    mean = dict(zip(encoder.names(), run(encoder, voice(220.0))[0][0, 0].tolist(), strict=True))
    assert mean["F0semitoneFrom27.5Hz_sma3nz_amean"] == pytest.approx(36, abs=0.1)  # 27.5 Hz and three octaves


@pytest.mark.needs("opensmile")
def test_a_batch_gives_what_single_utterances_give():
    encoder = OpenSmileEncoder(level="both", compression="log", frame_shift=320)
    waves = [voice(180.0), voice(250.0, 9000), voice(130.0, 960)]
    feats, lengths = run(encoder, *waves)
    assert lengths.tolist() == [50, 28, 3]
    for row, wave, length in zip(feats, waves, lengths.tolist(), strict=True):
        single, _ = run(encoder, wave)
        assert torch.equal(single[0], row[:length]) and not row[length:].any()


@pytest.mark.needs("opensmile")
def test_logarithms_keep_the_sign():
    plain, log = (run(OpenSmileEncoder(compression=one), voice(180.0))[0][0, 0].double() for one in ("none", "log"))
    assert (plain < -2).any() and plain.abs().max() > 100
    torch.testing.assert_close(log, plain.sign() * plain.abs().log1p(), rtol=1e-5, atol=1e-6)


@pytest.mark.needs("opensmile")
@pytest.mark.parametrize("level", ["functionals", "lld"])
@pytest.mark.parametrize("feature_set", SIZES)
def test_values_are_finite_whatever_is_heard(feature_set, level):
    noise = (0.1 * np.random.default_rng(0).standard_normal(FS)).astype(np.float32)
    click = np.eye(1, 4000, 2000, dtype=np.float32)[0]
    clipped = np.clip(100 * voice(200.0), -1, 1)
    for wave in (np.zeros(FS, np.float32), noise, noise[:960], click, clipped):
        feats, _ = run(OpenSmileEncoder(feature_set, level, "log"), wave)
        assert feats.isfinite().all()


@pytest.mark.needs("opensmile")
def test_too_short():
    with pytest.raises(SecError, match="959 samples, its descriptors need 960"):
        run(OpenSmileEncoder(), np.zeros(959, np.float32))

import pytest
import torch
from tiny_clap import sounds

from espnet2_secap.encoder.clap_front_end import RELEASED, ClapFrontEnd
from espnet2_secap.errors import SecError

DECIBELS = 5e-3


def extractor(**changes):
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(**({"frequency_min": 50, "truncation": "rand_trunc"} | changes))


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
@pytest.mark.parametrize("padding", ["repeatpad", "pad", "repeat"])
def test_spectrograms_are_those_of_transformers(truncation, padding):
    theirs = extractor(truncation=truncation, padding=padding)
    ours = ClapFrontEnd(theirs, "x")
    for wave in sounds(0.4, 3.3, 10.0):
        expected = theirs(wave.numpy(), sampling_rate=48000, return_tensors="pt")["input_features"][0, 0]
        found = ours(ours.windows(wave, 1))[0]
        assert found.shape == expected.shape == (1001, 64)
        assert (found - expected).abs().max() < DECIBELS
        assert found.min() == -100.0 or padding != "pad" or len(wave) == 480000


def test_by_hand():
    """A sine of 1 kHz in the middle of an FFT bin: its power is (sum of the window / 2)^2, and its neighbours' a
    quarter of that, each times the mel filters."""
    ours = ClapFrontEnd(extractor(**RELEASED, feature_size=64), "x")
    wave = torch.sin(2 * torch.pi * 32 / 1024 * torch.arange(320000.0).double())  # 32 periods in 1024 samples: 1 kHz
    power = torch.zeros(513, dtype=torch.float64)
    power[32], power[31], power[33] = 256.0**2, 128.0**2, 128.0**2
    expected = 10 * (power @ ours.filters).clamp(min=1e-10).log10()
    loud = expected > -60  # elsewhere rounding of the sine counts
    found = ours(wave[None].float())[0, 500]
    assert loud.sum() >= 2 and (found - expected)[loud].abs().max() < 1e-3


def test_the_released_one():
    ours = ClapFrontEnd(extractor(**RELEASED, feature_size=64), "x")
    assert (ours.sampling_rate, ours.window_samples, ours.mel_frames, ours.bands) == (32000, 320000, 1001, 64)
    (wave,) = sounds(12.0, rate=32000)
    windows = ours.windows(wave, None)
    assert windows.shape == (2, 320000) and torch.equal(windows[1, :64000], wave[320000:])
    assert not windows[1, 64000:].any() and torch.equal(ours.windows(wave, 1), windows[:1])
    assert ours.together([wave, wave[:1000]]).shape == (2, 320000)


def test_a_model_that_is_converted_keeps_its_precision():
    ours = ClapFrontEnd(extractor(), "x")
    (wave,) = sounds(2.0)
    before = ours(ours.windows(wave, 1))
    assert torch.equal(ours.to(torch.float16)(ours.windows(wave, 1)), before) and before.dtype == torch.float32


def test_bands_that_audio_of_this_rate_has_not():
    with pytest.raises(SecError, match="m: its front-end has mel bands up to 14000 Hz, .* 22050 Hz has 11025 Hz"):
        ClapFrontEnd(extractor(sampling_rate=22050), "m")
    with pytest.raises(SecError, match="padding 'reflect'"):
        ClapFrontEnd(extractor(padding="reflect"), "m")

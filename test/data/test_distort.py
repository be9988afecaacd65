import numpy as np
import pytest
from sounds import tone

from espnet2_secap.data.distort import add_noise, add_reverberation, distortions, through_telephone
from espnet2_secap.errors import SecError

FS = 16000


def level(sound: np.ndarray) -> float:
    """dB of the power."""
    return 10 * np.log10(np.mean(sound**2))


def snr(mono: np.ndarray, output: np.ndarray) -> float:
    """dB; the output may be the sum made quieter: noise is what is left of the best multiple of the input."""
    scale = output @ mono / (mono @ mono)
    return 10 * np.log10(np.sum((scale * mono) ** 2) / np.sum((output - scale * mono) ** 2))


@pytest.mark.parametrize("wanted", [0, 15, 40])
def test_noise_is_so_far_below_the_speech(wanted):
    mono = tone(2.0, hz=300)
    for key in ("a", "b", "c", "d"):
        output = add_noise(mono, wanted, key)
        assert snr(mono, output) == pytest.approx(wanted, abs=0.6) and np.abs(output).max() <= 1
    assert np.array_equal(add_noise(mono, wanted, "a"), add_noise(mono, wanted, "a"))
    assert not np.array_equal(add_noise(mono, wanted, "a"), add_noise(mono, wanted, "b"))


def test_noise_is_white_or_pink():
    """Of pink noise, most power lies low; of white noise half of it below a quarter of the sampling rate."""
    silent_tone, low = tone(2.0, hz=300) * 1e-3, []
    for key in range(20):
        power = np.abs(np.fft.rfft(add_noise(silent_tone, -20, str(key)))) ** 2
        low.append(power[: len(power) // 2].sum() / power.sum())
    white = [share for share in low if share < 0.6]
    assert all(0.4 < share for share in white) and 4 <= len(white) <= 16
    assert all(share > 0.85 for share in low if share >= 0.6)


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_reverberation_decays_by_60_db_in_the_time_given(seconds):
    """The response to a click: the slope of what is left of its energy (Schroeder, JASA 1965)."""
    click = np.zeros(FS)
    click[0] = 0.5
    heard = add_reverberation(click, FS, seconds, "key")
    tail = heard[round(0.01 * FS) : round(seconds * 0.8 * FS)]
    left = 10 * np.log10(np.cumsum(heard[::-1] ** 2)[::-1])[round(0.01 * FS) :][: len(tail) // 2]
    slope = np.polyfit(np.arange(len(left)) / FS, left, 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.15)
    direct = 10 * np.log10(heard[0] ** 2 / np.sum(heard[1:] ** 2))
    assert -0.01 <= direct <= 6.01 and np.abs(heard[1 : round(0.005 * FS)]).max() < 1e-12


def test_reverberation_and_telephone_keep_length_and_level():
    mono = 0.01 * tone(1.5, hz=700)
    for heard in (add_reverberation(mono, FS, 0.5, "a"), through_telephone(mono, FS)):
        assert heard.shape == mono.shape and level(heard) == pytest.approx(level(mono), abs=0.01)
    assert not np.array_equal(add_reverberation(mono, FS, 0.5, "a"), add_reverberation(mono, FS, 0.5, "b"))


@pytest.mark.parametrize("fs", [8000, 16000, 44100])
def test_a_telephone_has_a_band(fs):
    """Of equally strong tones those at 100 and 5000 Hz are gone; 1000 Hz stays, apart from 8 bits' rounding."""
    times = np.arange(fs) / fs
    tones = [hz for hz in (100, 1000, 5000) if hz < fs / 2]
    heard = through_telephone(sum(0.1 * np.sin(2 * np.pi * hz * times) for hz in tones), fs)
    found = {hz: 20 * np.log10(np.abs(np.fft.rfft(heard))[hz] / (fs / 2)) for hz in tones}
    assert found.pop(1000) > -20 and all(decibel < -55 for decibel in found.values())
    rounding = np.fft.rfft(through_telephone(0.1 * np.sin(2 * np.pi * 1000 * times), fs))
    share = np.abs(rounding[1000]) ** 2 / np.sum(np.abs(rounding) ** 2)
    assert 30 < 10 * np.log10(share / (1 - share)) < 50  # mu-law's signal-to-noise ratio is about 38 dB


def test_silence_and_full_scale_stay_in_range():
    for one in distortions(["noise=0", "reverb", "telephone", "reverb+noise"]):
        assert not np.nan_to_num(one.apply(np.zeros(800), FS, "a"), nan=9).any()
        assert np.abs(one.apply(np.sign(tone(0.3)), FS, "a")).max() <= 1


def test_words_say_which_and_how_much():
    words = ["noise", "noise=10", "noise=-5,15.5", "reverb=0.3,0.9+telephone+noise=20", "telephone"]
    found = distortions(words)
    assert [one.name for one in found] == [
        "noise",
        "noise10",
        "noise-5_15.5",
        "reverb0.3_0.9+telephone+noise20",
        "telephone",
    ]
    assert found[2].prefix == "noise-5_15.5-"
    mono = tone(1.0, hz=500)
    assert snr(mono, found[1].apply(mono, FS, "key")) == pytest.approx(10, abs=0.6)
    drawn = [snr(mono, found[2].apply(mono, FS, str(key))) for key in range(12)]
    assert -6 < min(drawn) < 2 and 8 < max(drawn) < 16.5
    usual = [snr(mono, found[0].apply(mono, FS, str(key))) for key in range(12)]
    assert 4 < min(usual) < 12 < max(usual) < 21
    assert np.array_equal(found[3].apply(mono, FS, "key"), found[3].apply(mono, FS, "key"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["echo"], "--augment echo: 'echo' is not one of noise, reverb, telephone; give kinds with blanks"),
        (["noise="], "--augment noise=: noise '': must be a number"),
        (["noise=loud"], "--augment noise=loud: noise 'loud': must be a number"),
        (["noise=99"], "--augment noise=99: noise 99.0: must be between -20 and 60"),
        (["reverb=0"], "--augment reverb=0: reverb 0.0: must be between 0.05 and 3"),
        (["noise=nan"], "noise nan: must be a number"),
        (["noise=15,5"], "--augment noise=15,5: noise: must be one value, or the least and the most"),
        (["noise=1,2,3"], "must be one value, or the least and the most"),
        (["telephone=3"], "--augment telephone=3: telephone has no value"),
        (["noise+noise=3"], "--augment noise[+]noise3: is there twice"),
        (["noise", "noise"], "--augment noise: is there twice"),
        (["noise+"], "'' is not one of noise"),
    ],
)
def test_bad_words_are_named(words, message):
    with pytest.raises(SecError, match=message):
        distortions(words)

import sys

import numpy as np
import pytest
import torch
import torchaudio

from espnet2_secap.encoder.acoustic import FRAME, MFCC, AcousticEncoder, descriptors, nuclei, statistics
from espnet2_secap.errors import SecError

FS = 16000


def voice(hertz, seconds=1.0, harmonics=12):
    """Harmonics of 200 Hz, or of an F0 that changes over time (an array of Hz for each sample)."""
    hertz = np.broadcast_to(hertz, int(seconds * FS))
    phase = 2 * np.pi * np.cumsum(hertz) / FS
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))).astype(np.float32)


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def run(encoder, *waves):
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
    return encoder(padded, torch.tensor([len(wave) for wave in waves]))


def named(encoder, wave):
    """Statistics of a waveform by their names."""
    return dict(zip(encoder.utterance_names(), encoder.describe(wave)[1], strict=True))


def test_pitch_is_in_semitones_above_100_hz():
    frames, _ = descriptors(voice(200.0))
    inside = slice(5, -5)
    assert frames["voiced"][inside].all()
    np.testing.assert_allclose(frames["f0"][inside], 12.0, atol=0.05)  # an octave
    glide = descriptors(voice(100 * 2 ** np.linspace(0, 1, FS)))[0]  # an octave in a second: 0.12 semitones a frame
    np.testing.assert_allclose(glide["f0_step"][10:-10], 0.12, atol=0.05)
    assert named(AcousticEncoder(), voice(200.0))["f0_p50"] == pytest.approx(12.0, abs=0.02)


def test_pitch_is_interpolated_between_voiced_parts():
    wave = np.concatenate([voice(150.0), np.zeros(FS // 2, np.float32), voice(300.0)])
    frames, _ = descriptors(wave)
    pause = ~frames["voiced"].astype(bool)[90:160]
    assert pause.sum() > 30
    gap = frames["f0"][90:160]
    assert np.all(np.diff(gap[pause]) > 0)
    one = named(AcousticEncoder(), wave)
    assert one["f0_p10"] == pytest.approx(12 * np.log2(1.5), abs=0.1) and one["f0_p90"] == pytest.approx(
        12 * np.log2(3), abs=0.1
    )
    assert abs(one["f0_step_mean"]) < 0.1  # the jump across the pause is no step
    assert one["voiced_runs_per_second"] == pytest.approx(2 / 2.5) and one["voiced_share"] == pytest.approx(
        0.8, abs=0.04
    )
    assert one["voiced_run_seconds"] == pytest.approx(1.0, abs=0.05)


def test_level_and_spectrum():
    tone = np.sin(2 * np.pi * 1500 * np.arange(FS) / FS).astype(np.float32)
    frames, _ = descriptors(tone)
    inside = slice(5, -5)
    np.testing.assert_allclose(frames["energy"][inside], 10 * np.log10(0.5), atol=0.01)  # of a sine at full scale
    np.testing.assert_allclose(frames["centroid"][inside], 1500, rtol=0.01)
    assert (frames["alpha_ratio"][inside] < -20).all()  # all of it above 1 kHz
    assert (
        descriptors(np.sin(2 * np.pi * 300 * np.arange(FS) / FS).astype(np.float32))[0]["alpha_ratio"][inside] > 20
    ).all()
    np.testing.assert_allclose(frames["flux"][inside], 0, atol=1e-2)
    both = descriptors(np.concatenate([tone[:8000], noise(8000)]))[0]["flux"]
    assert 48 <= 5 + both[5:-5].argmax() <= 52
    half = descriptors(tone / 2)[0]
    np.testing.assert_allclose(frames["energy"][inside] - half["energy"][inside], 20 * np.log10(2), atol=1e-6)
    for name in ("centroid", "flux", "alpha_ratio"):  # do not depend on the level
        np.testing.assert_allclose(frames[name][inside], half[name][inside], atol=1e-2)


def test_mfcc_are_torchaudios():
    wave = noise(FS)
    sizes = dict(n_fft=512, win_length=400, hop_length=160, n_mels=40)
    spectrum = torchaudio.transforms.MelSpectrogram(FS, **sizes)(torch.from_numpy(wave))  # (40, T)
    dct = torchaudio.functional.create_dct(13, 40, "ortho")
    expected = (torchaudio.transforms.AmplitudeToDB("power")(spectrum).T @ dct).numpy()
    np.testing.assert_allclose(descriptors(wave)[1], expected[:100], atol=1e-2)


def test_syllable_nuclei_and_their_rate():
    beats = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * np.arange(2 * FS) / FS)  # four a second
    wave = (voice(200.0, 2.0) * beats).astype(np.float32)
    assert named(AcousticEncoder(), wave)["nuclei_per_second"] == pytest.approx(4.0)
    assert named(AcousticEncoder(), (noise(2 * FS) * beats).astype(np.float32))["nuclei_per_second"] == 0  # no voice
    level = np.full(100, -60.0)
    level[[20, 50, 80]] = -20, -20, -58
    voiced = np.arange(100) < 70
    smooth_of_one = nuclei(np.convolve(level, np.ones(5) / 5, "same"), voiced)
    assert np.flatnonzero(smooth_of_one).tolist() == [20, 50]


@pytest.mark.parametrize("level, width", [("frame", 22), ("utterance", 60), ("both", 82)])
def test_a_batch_gives_what_single_utterances_give(level, width):
    encoder = AcousticEncoder(level, frame_shift=320)
    assert len(encoder.names()) == len(set(encoder.names())) == encoder.output_size() == width
    waves = [voice(180.0), noise(9000), voice(250.0, 0.3)]
    feats, lengths = run(encoder, *waves)
    assert feats.shape == (3, 50, width) and feats.dtype == torch.float32 and lengths.tolist() == [50, 28, 15]
    for row, wave, length in zip(feats, waves, lengths.tolist(), strict=True):
        single, (frames,) = run(encoder, wave)
        assert frames == length and torch.equal(single[0], row[:length]) and not row[length:].any()
    assert torch.equal(run(encoder, *waves)[0], feats)


def test_columns_are_in_the_order_of_their_names():
    encoder = AcousticEncoder("both", frame_shift=160)
    wave = np.concatenate([voice(180.0), noise(9000)])
    feats = run(encoder, wave)[0][0].numpy()
    columns = dict(zip(encoder.names(), feats.T, strict=True))
    assert list(columns)[: len(FRAME)] == list(FRAME)
    voiced = columns["voiced"].astype(bool)
    for name, where in (("f0", voiced), ("energy", slice(None)), ("centroid", voiced), ("flux", voiced)):
        assert columns[f"{name}_mean"][0] == pytest.approx(columns[name][where].mean(), rel=1e-4)
        assert columns[f"{name}_p90"][7] == pytest.approx(np.percentile(columns[name][where], 90), rel=1e-4)
    for name in MFCC:
        assert columns[f"{name}_mean"][0] == pytest.approx(columns[name].mean(), rel=1e-3, abs=1e-3)
        assert columns[f"{name}_std"][0] == pytest.approx(columns[name].std(), rel=1e-3)
    assert columns["nuclei_per_second"][0] == pytest.approx(100 * columns["nucleus"].mean())


DIFFICULT = {
    "silent": np.zeros(FS, np.float32),
    "silent and short": np.zeros(400, np.float32),
    "shorter than a period": voice(200.0)[:400],
    "click": np.eye(1, 4000, 2000, dtype=np.float32)[0],
    "clipped": np.clip(voice(200.0) * 100, -1, 1).astype(np.float32),
    "constant": np.full(4000, 0.5, np.float32),
    "faint": voice(200.0) * 1e-6,
    "noise": noise(FS),
    "silence before speech": np.concatenate([np.zeros(8000, np.float32), voice(200.0)]),
}


@pytest.mark.parametrize("name", DIFFICULT)
def test_values_are_finite_whatever_is_heard(name):
    feats, (frames,) = run(AcousticEncoder(), DIFFICULT[name])
    assert frames == len(DIFFICULT[name]) // 160 and feats.isfinite().all()
    assert feats.half().isfinite().all()  # what --feats_dtype float16 stores


def test_what_an_unvoiced_and_a_silent_recording_have():
    for wave in (DIFFICULT["noise"][:3200], DIFFICULT["silent"]):
        frames, _ = descriptors(wave)
        frames = {**frames, "voiced": np.zeros_like(frames["voiced"])} if wave.any() else frames
        one = dict(
            zip(AcousticEncoder().utterance_names(), statistics(frames, np.zeros((len(wave) // 160, 13))), strict=True)
        )
        assert one["voiced_share"] == one["f0_mean"] == one["f0_step_std"] == one["f0_p90"] == 0
        assert one["centroid_mean"] == pytest.approx(frames["centroid"].mean())  # over all frames
    silent = named(AcousticEncoder(), DIFFICULT["silent"])
    assert silent["energy_p50"] == -100 and silent["alpha_ratio_mean"] == silent["centroid_mean"] == 0
    assert silent["nuclei_per_second"] == silent["voiced_runs_per_second"] == silent["voiced_run_seconds"] == 0


@pytest.mark.parametrize("level", ["frame", "utterance", "both"])
def test_what_has_no_voice_is_remarked(level):
    encoder = AcousticEncoder(level, 1600)
    for wave, told in ((voice(200.0), None), (DIFFICULT["click"], "no voiced frame, so that their F0 is 0 throughout")):
        assert encoder.remark(run(encoder, wave)[0][0].numpy()) == told


def test_too_short_and_missing_package(monkeypatch):
    with pytest.raises(SecError, match="399 samples, its descriptors need 400"):
        run(AcousticEncoder(), np.zeros(399, np.float32))
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(SecError, match="AcousticEncoder: the package pyworld cannot be imported .*pip install pyworld"):
        AcousticEncoder()


def test_nothing_to_train_and_nothing_to_store():
    encoder = AcousticEncoder()
    assert not list(encoder.parameters()) and not encoder.state_dict()


def test_the_page_names_every_column(repo):
    page = (repo / "docs/features.md").read_text(encoding="utf-8")
    for name in AcousticEncoder().names():
        listed = name.startswith("mfcc_") or f"`{name}`" in page
        assert listed or f"`{name.rsplit('_', 1)[0]}_*`" in page, name

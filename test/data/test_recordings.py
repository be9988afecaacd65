"""Recordings of any kind as samples for a model."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile as sf
import torch
from sounds import content, make_bad, patched, peak_hz, tone

from espnet2_secap.data import audio
from espnet2_secap.data.audio import BadAudio, read_audio, read_header
from espnet2_secap.data.ffmpeg import decoded
from espnet2_secap.data.format import FormatOptions, format_utterance
from espnet2_secap.data.recordings import as_waveform, check_recording, load_recording, read_recording
from espnet2_secap.errors import SecError

needs_ffmpeg = pytest.mark.needs("ffmpeg")


def noise(seconds=1.0, rate=16000) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(int(seconds * rate))).astype(np.float32)


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x,
        lambda x: x.astype(np.float64),
        lambda x: list(map(float, x)),
        lambda x: np.rint(x * 2**15).astype(np.int16),
        lambda x: np.rint(x.astype(np.float64) * 2**31).astype(np.int32),
        lambda x: torch.tensor(x),
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: torch.tensor(np.rint(x * 2**15).astype(np.int16)),
        lambda x: np.stack([x, x], axis=1),
        lambda x: np.stack([1.5 * x, 0.5 * x]),
        lambda x: torch.tensor(x)[None],
        lambda x: x[:, None],
    ],
    ids="float32 float64 list int16 int32 torch grad torch-int16 stereo stereo-torchaudio torchaudio column".split(),
)
def test_every_type_and_shape_gives_the_same_waveform(given):
    found = as_waveform(given(tone()), 16000, 16000)
    assert found.dtype == np.float32 and found.shape == (16000,)
    np.testing.assert_allclose(found, tone(), atol=2e-5)


def test_eight_bits_are_centred_where_they_have_no_sign():
    unsigned = np.array([128, 255, 0] * 100, dtype=np.uint8)
    np.testing.assert_allclose(as_waveform(unsigned, 16000, 16000)[:3], [0, 127 / 128, -1])
    np.testing.assert_allclose(as_waveform(unsigned.astype(int).astype(np.int8), 16000, 16000)[:2], [-1, -1 / 128])
    half = torch.tensor([0.5, -0.25] * 100, dtype=torch.bfloat16)
    np.testing.assert_array_equal(as_waveform(half, 16000, 16000)[:2], [0.5, -0.25])


def test_another_rate_is_resampled():
    found = as_waveform(tone(rate=44100), 44100, 16000)
    assert len(found) == 16000 and peak_hz(found, 16000) == 440


def test_a_small_overshoot_is_clipped(caplog):
    assert np.abs(as_waveform(3 * tone(), 16000, 16000)).max() == 1.0
    assert caplog.messages == ["audio: clipped at full scale, 53.5% of the samples"]  # 1 - 2 asin(1/1.5)/pi


def test_samples_that_are_hardly_there_are_a_warning(caplog):
    assert np.abs(as_waveform(tone() / 2**15, 16000, 16000)).max() > 0
    assert len(caplog.messages) == 1 and "quieter than -60 dB" in caplog.messages[0]
    as_waveform(tone() / 100, 16000, 16000)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("audio", "rate", "said"),
    [
        (np.zeros((2, 3, 4), np.float32), 16000, r"shape \(2, 3, 4\)"),
        (np.float32(1.0), 16000, r"shape \(\)"),
        (np.ones((100, 200), np.float32), 16000, "channels cannot be told from samples"),
        (np.ones((4, 5), np.float32), 16000, "channels cannot be told from samples"),
        ([[1.0, 2.0], [1.0]], 16000, "not an array"),
        (np.zeros(0, np.float32), 16000, "no samples"),
        (np.zeros(16000, np.int16), 16000, "silent"),
        (np.array([0.1, np.nan] * 99), 16000, "NaN"),
        (np.array([0.1, np.inf] * 99), 16000, "NaN or infinite"),
        (tone() * 32768, 16000, r"up to 16384.0, expected -1 to 1; divide it by 32768"),
        (tone() * 8, 16000, "expected -1 to 1; scale it"),
        (np.arange(1000), 16000, "type int64"),
        (np.array(["a"] * 9), 16000, "type"),
        (np.ones(9, bool), 16000, "type bool"),
        (tone(), 0, "sampling rate 0: must be a positive"),
        (tone(), -16000, "must be a positive"),
        (tone(), float("nan"), "must be a positive"),
        (tone(), None, "sampling rate None: must be a number"),
        (tone(), "fast", "sampling rate 'fast': must be a number"),
    ],
)
def test_what_cannot_be_a_waveform_is_refused(audio, rate, said):
    with pytest.raises(SecError, match=said):
        as_waveform(audio, rate, 16000)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
def test_files_that_libsndfile_reads(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    sf.write(path, np.stack([tone(2, 44100), tone(2, 44100)], axis=1), 44100)
    found = load_recording(path, 16000)
    assert found.dtype == np.float32 and abs(len(found) - 32000) < 100 and peak_hz(found, 16000) == 440


def test_a_file_gives_what_stage_2_stores(tmp_path):
    sf.write(tmp_path / "a.wav", np.stack([noise(3, 44100), tone(3, 44100)], axis=1), 44100)
    pcm = read_audio(tmp_path / "a.wav", 16000)
    np.testing.assert_array_equal(load_recording(tmp_path / "a.wav", 16000), pcm.astype(np.float32) / 32768)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_hours_are_read_block_by_block_with_the_same_result(tmp_path, monkeypatch, rate):
    path = tmp_path / "a.wav"
    sf.write(path, np.stack([noise(3, rate), tone(3, rate)], axis=1), rate)
    expected = read_audio(path, 16000)
    monkeypatch.setattr(audio, "BLOCK", 7001)
    np.testing.assert_array_equal(read_recording(path, 16000), expected)


@pytest.mark.parametrize(
    ("bad", "said"),
    [(lambda x: np.where(np.arange(len(x)) == 9000, np.nan, x), "NaN or infinite"), (np.zeros_like, "is silent")],
)
def test_hours_of_bad_samples_are_refused(tmp_path, monkeypatch, bad, said):
    sf.write(tmp_path / "a.wav", bad(tone()), 16000, subtype="FLOAT")
    monkeypatch.setattr(audio, "BLOCK", 1000)
    with pytest.raises(BadAudio, match=said):
        read_recording(tmp_path / "a.wav", 16000)


def test_days_are_refused_unread(tmp_path):
    with sf.SoundFile(tmp_path / "a.flac", "w", 1000, 1, "PCM_16") as sound:  # the least rate: a small file
        for _ in range(13):
            sound.write(np.ones(3600 * 1000, np.int16))
    with pytest.raises(BadAudio, match=r"too long: 13.0 h, at most 12 h"):
        check_recording(tmp_path / "a.flac")


def test_a_float_file_of_int16_scale_is_refused(tmp_path):
    sf.write(tmp_path / "a.wav", tone() * 32768, 16000, subtype="FLOAT")
    with pytest.raises(SecError, match=r"a.wav: has float samples up to 16384.0"):
        load_recording(tmp_path / "a.wav", 16000)


@pytest.mark.parametrize("ffmpeg", [True, False])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "does not exist"),
        ("folder", "is n"),
        ("empty", "is an empty file"),
        ("cut short", "is cut short: 19956 of the 32000 bytes"),
        ("cut in the header", ".*cut short"),
        ("text", "is not audio"),
        ("raw", "is not audio"),
        ("no samples", "has no samples"),
        ("silent", "is silent"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(tmp_path, monkeypatch, kind, said, ffmpeg):
    if not ffmpeg:
        monkeypatch.setenv("PATH", "")
    elif shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg on PATH")
    path = tmp_path / ("a.raw" if kind == "raw" else "a.wav")
    make_bad(kind, path)
    with pytest.raises(SecError, match=rf"{path.name}: {said}"):
        load_recording(path, 16000)


def encode(source, target, *options):
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", *options, str(target)]
    subprocess.run(command if source is None else [*command[:4], "-i", str(source), *command[4:]], check=True)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.wma", "a.aac", "a.mka", "-a.m4a", "http:a b%d.m4a", "m4a.wav"])
def test_other_formats_are_decoded_by_ffmpeg(tmp_path, name):
    sf.write(tmp_path / "source.wav", np.stack([tone(2, 44100)] * 2, axis=1), 44100)
    encode(tmp_path / "source.wav", tmp_path / "made.m4a" if "m4a" in name else tmp_path / name)
    if "m4a" in name:
        (tmp_path / "made.m4a").rename(tmp_path / name)
    check_recording(tmp_path / name)
    found = load_recording(tmp_path / name, 16000)
    assert abs(len(found) - 32000) < 2000 and peak_hz(found, 16000) == pytest.approx(440, abs=1)


@needs_ffmpeg
def test_the_sound_of_a_video(tmp_path):
    sf.write(tmp_path / "a.wav", tone(2, 44100), 44100)
    encode(tmp_path / "a.wav", tmp_path / "a.mp4", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=5", "-shortest")
    assert peak_hz(load_recording(tmp_path / "a.mp4", 16000), 16000) == pytest.approx(440, abs=1)
    encode(None, tmp_path / "b.mp4", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1")
    with pytest.raises(SecError, match=r"b.mp4: has no sound track"):
        load_recording(tmp_path / "b.mp4", 16000)


@needs_ffmpeg
def test_a_broken_file_of_ffmpeg_says_what_ffmpeg_said(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"no atoms here" * 100)
    with pytest.raises(SecError, match=r"a.m4a: cannot be decoded by ffmpeg \(.*Invalid data.*\); copy it again"):
        load_recording(tmp_path / "a.m4a", 16000)


@needs_ffmpeg
def test_ffmpeg_opens_no_address(tmp_path):
    """A playlist may name addresses; only local files are opened."""
    (tmp_path / "a.m4a").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n")
    with pytest.raises(SecError, match="cannot be decoded by ffmpeg"):
        load_recording(tmp_path / "a.m4a", 16000)


def test_ffmpeg_that_hangs_is_ended(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadAudio, match=r"took ffmpeg longer than 0.2 s"), decoded(tmp_path / "a.m4a", seconds=0.2):
        pass


def test_without_ffmpeg_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for name, said in (("a.m4a", "needs ffmpeg, which is not on PATH"), ("a.wav", "some formats need ffmpeg")):
        (tmp_path / name).write_bytes(b"no atoms here" * 100)
        with pytest.raises(BadAudio, match=said):
            check_recording(tmp_path / name)
        with pytest.raises(SecError, match=f"{name}: .*{said}"):
            load_recording(tmp_path / name, 16000)


@pytest.mark.parametrize(
    "data",
    [
        patched(content(noise()), 40, 0),
        patched(content(noise()), 40, 16000),
        patched(content(noise()), 40, 32044),
        2 * content(noise()),
        2 * content(noise(), form="OGG"),
        content(noise(), form="MP3")[417:],
        content(1.25 * tone() / 0.5, subtype="FLOAT"),
    ],
    ids=["zero", "less", "more", "joined", "chained", "mp3", "loud"],
)
def test_every_reader_gives_the_same(tmp_path, data):
    """Stage 2, sec_caption, Speech2Caption and pipes read one file alike, whatever its header says."""
    path, fs = tmp_path / "a.wav", 16000
    path.write_bytes(data)
    pcm = read_recording(path, fs)
    np.testing.assert_array_equal(read_audio(path, fs), pcm)
    np.testing.assert_array_equal(read_audio(data, fs), pcm)
    np.testing.assert_array_equal(load_recording(path, fs), pcm.astype(np.float32) / 32768)
    options = FormatOptions(str(tmp_path), str(tmp_path), "test", allow_pipes=True)
    for source in (str(path), f"cat {path} |"):
        samples, _ = format_utterance(source, tmp_path / "b.wav", options)
        assert samples == len(pcm)
        np.testing.assert_array_equal(sf.read(tmp_path / "b.wav", dtype="int16")[0], pcm)


def test_the_real_file_is_not_what_a_header_says(tmp_path):
    """A WAV of a pipe has no length in its header."""
    sf.write(tmp_path / "a.wav", tone(), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(content)
    assert read_header(tmp_path / "a.wav").samples == 16000
    assert len(load_recording(tmp_path / "a.wav", 16000)) == 16000


def test_how_loud_floats_may_be():
    """Up to 2.0 they overshoot; beyond they have another scale, that of int16 if they fit it."""
    with_peak = lambda peak: np.where(np.arange(16000) == 9, np.float32(peak), tone())  # noqa: E731
    assert as_waveform(with_peak(2.0), 16000, 16000).max() == as_waveform(-with_peak(2.0), 16000, 16000).max() * 2 == 1
    for peak, hint in (
        (2.1, "scale it"),
        (256, "scale it"),
        (257, "divide"),
        (2**15, "divide"),
        (2**15 + 1, "scale it"),
    ):
        for sign in (1, -1):
            with pytest.raises(SecError, match=f"expected -1 to 1; {hint}"):
                as_waveform(sign * with_peak(peak), 16000, 16000)


def test_channels_by_hand():
    stereo = np.array([[0.5, 0.25], [0.0, -0.5], [0.25, 0.25]] * 3, np.float32)
    for given in (stereo, stereo.T):
        assert as_waveform(given, 16000, 16000)[:3].tolist() == [0.375, -0.25, 0.25]
    eight, nine = np.zeros((8, 9), np.float32), np.zeros((9, 10), np.float32)
    eight[0], nine[0] = 0.8, 0.9
    np.testing.assert_allclose(as_waveform(eight, 16000, 16000), np.full(9, 0.1), rtol=1e-6)
    with pytest.raises(SecError, match="channels cannot be told"):
        as_waveform(nine, 16000, 16000)
    assert as_waveform(np.full((1, 1), 0.5, np.float32), 16000, 16000).tolist() == [0.5]

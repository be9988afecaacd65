"""Recordings as they come: what is read, what is refused and why."""

import os
import struct
import time
import tracemalloc

import numpy as np
import pytest
import soundfile as sf
from sounds import content, make_bad, patched, peak_hz, tone

from espnet2_secap.data.audio import (
    BadAudio,
    Header,
    check_length,
    decode,
    is_made_from,
    made_samples,
    read_audio,
    read_header,
    write_audio,
)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "does not exist"),
        ("folder", "is not a regular file"),
        ("empty", "is an empty file"),
        ("cut short", "is cut short: 19956 of the 32000 bytes"),
        ("cut in the header", "is cut short"),
        ("text", "is not audio"),
        ("zeros instead of chunks", "is not audio"),
        ("no samples", "has no samples"),
        ("silent", "is silent: all samples are zero"),
        ("silent as mono", "is silent in 16 bits as mono"),
        ("nan", "NaN"),
        ("inf", "infinite"),
        ("cut flac", "cut short"),
    ],
)
def test_refused_with_reason_and_advice(tmp_path, kind, said):
    path = tmp_path / "a.wav"
    make_bad(kind, path)
    with pytest.raises(BadAudio, match=said) as error:
        read_audio(path, 16000)
    assert ";" in str(error.value) or "leave it out" in str(error.value)  # what to do
    assert "\n" not in str(error.value)


def test_16_bit_mono_of_the_right_rate_passes_unchanged(tmp_path):
    pcm = np.random.default_rng(0).integers(-32768, 32768, 16000).astype(np.int16)
    sf.write(tmp_path / "a.wav", pcm, 16000)
    assert np.array_equal(read_audio(tmp_path / "a.wav", 16000), pcm)
    assert read_header(tmp_path / "a.wav").notes(16000) == []


def test_stereo_is_averaged_and_noted(tmp_path):
    sf.write(tmp_path / "a.wav", np.array([[0.5, 0.25], [0.5, -0.5], [-1.0, 0.0]] * 200), 16000)
    assert read_audio(tmp_path / "a.wav", 16000)[:3].tolist() == [12288, 0, -16384]
    assert read_header(tmp_path / "a.wav").notes(16000) == ["2 channels averaged to mono"]


@pytest.mark.parametrize(("rate", "notes"), [(8000, ["upsampled from 8000 Hz"]), (24000, []), (44100, [])])
def test_other_rates_are_resampled(tmp_path, rate, notes):
    sf.write(tmp_path / "a.wav", tone(2, rate), rate)
    pcm = read_audio(tmp_path / "a.wav", 16000)
    assert abs(len(pcm) - 32000) <= 1
    assert peak_hz(pcm, 16000) == pytest.approx(440, abs=1)
    assert np.abs(pcm[1000:-1000]).max() == pytest.approx(16384, rel=0.01)
    assert read_header(tmp_path / "a.wav").notes(16000) == notes


@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_24_bits_are_rounded_to_16(tmp_path, form):
    sf.write(tmp_path / "a.wav", tone(), 16000, subtype="PCM_24", format=form)
    assert np.abs(read_audio(tmp_path / "a.wav", 16000) - tone() * 32768).max() <= 0.51


def test_floats_beyond_full_scale_are_clipped_not_wrapped(tmp_path):
    sf.write(tmp_path / "a.wav", 4 * tone(), 16000, subtype="FLOAT")
    pcm = read_audio(tmp_path / "a.wav", 16000)
    assert pcm.max() == 32767
    assert pcm.min() == -32768
    assert np.array_equal(np.sign(pcm[1:100]), np.sign(tone()[1:100]))


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (32768, r"has float samples up to 16384.0, expected -1 to 1; divide it by 32768"),
        (8, r"has float samples up to 4.0, expected -1 to 1; scale it"),
        (1e30, "expected -1 to 1; scale it"),
    ],
)
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_files_of_another_scale_are_refused(tmp_path, factor, said, subtype):
    sf.write(tmp_path / "a.wav", factor * tone(), 16000, subtype=subtype)
    with pytest.raises(BadAudio, match=said):
        read_audio(tmp_path / "a.wav", 16000)


def test_what_the_conversion_clips_is_counted_and_said(tmp_path):
    """A sine of 1.25 of the full scale is above it for 1 - 2 asin(0.8) / pi of the time."""
    share = 1 - 2 * np.arcsin(0.8) / np.pi
    for form, subtype in (("WAV", "FLOAT"), ("OGG", "VORBIS")):
        sf.write(tmp_path / "a", (2.5 if subtype == "FLOAT" else 2.2) * tone(2), 16000, format=form, subtype=subtype)
        (note,) = decode(tmp_path / "a", 16000).notes
        assert note.startswith("clipped at full scale, up to ") and note.endswith("% of the samples")
        if subtype == "FLOAT":
            assert float(note.split(" up to ")[1].split("%")[0]) == pytest.approx(100 * share, abs=1)


@pytest.mark.parametrize("rate", [16000, 24000])
def test_a_few_samples_of_overshoot_are_no_news(tmp_path, rate):
    samples = 0.5 * tone(2, rate)
    samples[[100, 7000]] = 1.05
    sf.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    assert decode(tmp_path / "a.wav", 16000).notes == []
    sf.write(tmp_path / "a.wav", 2 * tone(2, rate), rate, subtype="FLOAT")  # full scale is not beyond it
    assert decode(tmp_path / "a.wav", rate).notes == []


def test_what_is_hardly_there_is_noted(tmp_path):
    sf.write(tmp_path / "a.wav", tone() / 1024, 16000)
    assert decode(tmp_path / "a.wav", 16000).notes == [
        "quieter than -60 dB of full scale at its peak, few bits are left of it"
    ]
    sf.write(tmp_path / "a.wav", tone() / 32768, 16000, subtype="FLOAT")
    with pytest.raises(BadAudio, match="silent in 16 bits"):
        decode(tmp_path / "a.wav", 16000)


def test_a_header_that_lies_is_resumed_by_the_true_length(tmp_path):
    source, made = tmp_path / "a.wav", tmp_path / "b.wav"
    for data in (patched(content(tone(2)), 40, 0), 2 * content(tone(1)), content(tone(2))[:-44]):
        source.write_bytes(data)
        header, pcm = read_header(source), read_audio(source, 8000)
        assert abs(header.seconds - 2) < 0.01
        write_audio(made, pcm, 8000, source.stat().st_mtime_ns)
        assert is_made_from(made, source, header, 8000) == len(pcm)
        assert is_made_from(made, source, Header(8000, 16000, 1), 8000) is None


def test_a_file_that_is_called_raw_is_read_by_its_content(tmp_path):
    sf.write(tmp_path / "a.wav", tone(), 16000)
    (tmp_path / "a.wav").rename(tmp_path / "a.raw")
    assert len(read_audio(tmp_path / "a.raw", 16000)) == 16000


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_has_no_length_and_is_whole(tmp_path, length):
    path = tmp_path / "a.wav"
    sf.write(path, tone(), 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + struct.pack("<I", length) + whole[44:])
    assert len(read_audio(path, 16000)) == 16000


def test_three_hours_are_refused_by_the_header_alone(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros((1, 2)), 48000, subtype="FLOAT")
    head = path.read_bytes()[:-8]
    size = 3 * 3600 * 48000 * 8
    with path.open("wb") as stream:  # takes no room on the disk: the rest is a hole
        stream.write(head[:-4] + struct.pack("<I", size))
        stream.truncate(len(head) + size)
    tracemalloc.start()
    start = time.monotonic()
    header = read_header(path)
    assert header.seconds == pytest.approx(10800)
    with pytest.raises(BadAudio, match="is too long: 10800 s"):
        check_length(header)
    assert time.monotonic() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.01, "too short: 0.0100 s, speech features need 0.025 s"),
        (0.08, "min_wav_duration is 0.1"),
        (31, "max_wav_duration is 30"),
    ],
)
def test_lengths_outside_the_limits(tmp_path, seconds, said):
    sf.write(tmp_path / "a.wav", tone(seconds), 16000)
    with pytest.raises(BadAudio, match=said):
        check_length(read_header(tmp_path / "a.wav"), 0.1, 30)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_what_was_written_is_known_again_until_its_source_changes(tmp_path, suffix):
    source, made = tmp_path / "a.wav", tmp_path / f"b.{suffix}"
    sf.write(source, tone(1, 24000), 24000)
    header, pcm = read_header(source), read_audio(source, 16000)
    assert is_made_from(made, source, header, 16000) is None
    write_audio(made, pcm, 16000, source.stat().st_mtime_ns)
    assert np.array_equal(sf.read(made, dtype="int16")[0], pcm)
    assert is_made_from(made, source, header, 16000) == len(pcm)
    assert is_made_from(made, source, header, 8000) is None
    sf.write(source, tone(1, 24000, 220), 24000)
    assert is_made_from(made, source, read_header(source), 16000) is None


def test_half_of_a_formatted_file_is_not_taken_for_whole(tmp_path):
    source, made = tmp_path / "a.wav", tmp_path / "b.wav"
    sf.write(source, tone(), 16000)
    write_audio(made, read_audio(source, 16000), 16000, source.stat().st_mtime_ns)
    half = made.read_bytes()[:5000]
    made.write_bytes(half)
    stamp = source.stat().st_mtime_ns
    os.utime(made, ns=(stamp, stamp))
    assert is_made_from(made, source, read_header(source), 16000) is None


def test_two_samples_more_or_less_are_the_resamplers(tmp_path):
    """Made audio counts as whole if its length is that of the source at the new rate, but for two samples."""
    source, made = tmp_path / "a.wav", tmp_path / "b.wav"
    sf.write(source, tone(1, 24000), 24000)
    pcm = read_audio(source, 16000)
    for length, known in ((15997, False), (15998, True), (16002, True), (16003, False)):
        write_audio(made, np.resize(pcm, length), 16000, source.stat().st_mtime_ns)
        assert is_made_from(made, source, read_header(source), 16000) == (length if known else None)
    write_audio(made, pcm, 16000, source.stat().st_mtime_ns)
    assert made_samples(made, source.stat().st_mtime_ns, 16000) == len(pcm)
    assert made_samples(made, source.stat().st_mtime_ns + 1, 16000) is None
    sf.write(made, np.stack([pcm, pcm], axis=1), 16000)
    os.utime(made, ns=(source.stat().st_mtime_ns,) * 2)
    assert made_samples(made, source.stat().st_mtime_ns, 16000) is None, "two channels"


@pytest.mark.parametrize("extra", [b"LIST" + struct.pack("<I", 4) + b"abcd", b"note" + struct.pack("<I", 3) + b"abc\0"])
def test_chunks_before_the_samples_are_passed_over(tmp_path, extra):
    """A chunk of odd length is followed by one byte that its length does not count."""
    path = tmp_path / "a.wav"
    sf.write(path, tone(), 16000)
    whole = path.read_bytes()
    assert whole[36:40] == b"data"
    path.write_bytes(whole[:36] + extra + whole[36:])
    assert len(read_audio(path, 16000)) == 16000
    path.write_bytes((whole[:36] + extra + whole[36:])[:-2])
    assert len(read_audio(path, 16000)) == 15999
    path.write_bytes((whole[:36] + extra + whole[36:])[:-6000])
    with pytest.raises(BadAudio, match="is cut short: 26000 of the 32000 bytes"):
        read_audio(path, 16000)
    path.write_bytes(whole[:36] + extra)
    with pytest.raises(BadAudio, match="is cut short: no data chunk"):
        read_audio(path, 16000)


def test_the_ends_of_the_limits_are_allowed():
    for samples in (400, 1600, 48000):
        check_length(Header(samples, 16000, 1), minimum=samples / 16000, maximum=samples / 16000)
    check_length(Header(400, 16000, 1))
    with pytest.raises(BadAudio, match="too short: 0.0249 s"):
        check_length(Header(399, 16000, 1), minimum=0.0)


@pytest.mark.parametrize("rate", [0, 128, 999, 768001, 2**31])
def test_a_rate_that_no_recording_has_is_refused(rate):
    data = content(tone())
    with pytest.raises(BadAudio, match=f"says {rate} Hz|is not audio"):
        read_audio(data[:24] + struct.pack("<II", rate, 2 * rate % 2**32) + data[32:], 16000)

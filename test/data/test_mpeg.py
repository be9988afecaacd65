"""MP3 files whose first frame says less, more or nothing of what follows, and bytes that are no frames."""

import struct
import time

import numpy as np
import pytest
from sounds import content, found_in, noise, tone

from espnet2_secap.data.audio import BadAudio, check_length, decode, read_header
from espnet2_secap.data.mpeg import GUESSED, SKIPPED, empty_header, frame_of
from espnet2_secap.data.parts import JOINED, LESS, MORE

QUIET_LOUD = np.concatenate([1e-3 * noise(2), noise(2)])
ID3 = b"ID3\4\0\0\0\0\2\0" + bytes(256)
TAG = b"TAG" + b" " * 125
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 42, 1, 0) + bytes(8 + 10)


def mp3(samples=QUIET_LOUD, rate=16000, mode="VARIABLE"):
    return content(samples, rate, "MP3", bitrate_mode=mode, compression_level=0.5)


VARIABLE, CONSTANT = mp3(), mp3(mode="CONSTANT")


def bare(data):
    """Without the first frame, which holds no sound."""
    return data[frame_of(data).size :]


def with_info(data, frames, size=None):
    """With other numbers in the first frame; those of `frames` and `size` are factors."""
    at = max(data.find(b"Xing", 0, 200), data.find(b"Info", 0, 200)) + 8
    there = struct.unpack(">II", data[at : at + 8])
    numbers = int(there[0] * frames), int(there[1] * (1.0 if size is None else size))
    return data[:at] + struct.pack(">II", *numbers) + data[at + 8 :]


@pytest.mark.parametrize("data", [VARIABLE, CONSTANT], ids=["variable", "constant"])
def test_whole_files_are_left_to_libsndfile(tmp_path, data):
    for whole in (data, ID3 + data, data + TAG, data + APE, ID3 + data + TAG, data + b"\1" * 3000):
        assert found_in(tmp_path / "a.mp3", whole) == (64000, [])


@pytest.mark.parametrize("zeros", [3000, 100000])
def test_filling_before_the_frames_is_no_news(tmp_path, zeros):
    for data in (ID3 + bytes(zeros) + VARIABLE, bytes(zeros) + VARIABLE):
        assert found_in(tmp_path / "a.mp3", data) == (64000, [])


@pytest.mark.parametrize("behind", [False, True])
def test_a_cover_that_is_larger_than_the_sound(tmp_path, behind):
    """Frames of a file that begins with them are counted, whatever else is in it."""
    picture = np.random.default_rng(0).bytes(200000)
    length = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
    data = bare(VARIABLE) + picture if behind else b"ID3\3\0\0" + length + picture + bare(VARIABLE)
    assert found_in(tmp_path / "a.mp3", data) == found_in(tmp_path / "b.mp3", bare(VARIABLE))


@pytest.mark.parametrize("samples", [tone(2), QUIET_LOUD, QUIET_LOUD[::-1]], ids=["tone", "quiet-loud", "loud-quiet"])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_without_a_first_frame_all_frames_are_read(tmp_path, samples, rate):
    data = bare(mp3(np.ascontiguousarray(samples), rate))
    read, notes = found_in(tmp_path / "a.mp3", data)
    assert 0 <= read - len(samples) * 16000 / rate < 2500 and notes == [GUESSED]
    whole = mp3(np.ascontiguousarray(samples), rate)
    loud = [np.abs(decode(one, 16000).pcm.astype(float)).sum() for one in (whole, data)]
    assert loud[1] == pytest.approx(loud[0], rel=0.02)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (with_info(VARIABLE, 0.5), LESS),
        (with_info(VARIABLE, 0), LESS),
        (with_info(VARIABLE, 2), MORE),  # the number of bytes is right: nothing is missing
        (with_info(CONSTANT, 0.1), LESS),
        (b"\1" * 500 + VARIABLE, SKIPPED),
    ],
)
def test_what_the_first_frame_says_is_not_believed(tmp_path, data, note):
    assert found_in(tmp_path / "a.mp3", data) == (64000, [note])
    made = decode(data, 16000).pcm
    assert any(np.array_equal(made, decode(whole, 16000).pcm) for whole in (VARIABLE, CONSTANT))


@pytest.mark.parametrize("between", [b"", ID3, TAG + ID3, b"\1" * 700])
def test_a_second_recording_is_read(tmp_path, between):
    read, notes = found_in(tmp_path / "a.mp3", VARIABLE + between + CONSTANT)
    assert read == 128000 and JOINED in notes
    assert np.array_equal(decode(VARIABLE + between + CONSTANT, 16000).pcm[64000:], decode(CONSTANT, 16000).pcm)


def test_recordings_of_other_rates_and_channels(tmp_path):
    stereo = content(np.stack([noise(1, 44100)] * 2, axis=1), 44100, "MP3")
    read, notes = found_in(tmp_path / "a.mp3", bare(CONSTANT) + bare(stereo))
    assert abs(read - 80000) < 3000 and JOINED in notes


def test_bytes_in_the_middle_are_passed_over(tmp_path):
    data = bare(CONSTANT)
    read, notes = found_in(tmp_path / "a.mp3", data[:3000] + b"\1" * 900 + data[3000:])
    assert abs(read - 64000) < 2500 and notes == [SKIPPED]


def test_a_cut_file_is_refused(tmp_path):
    with pytest.raises(BadAudio, match=r"is cut short: \d+ of the \d+ frames in its header; copy it again"):
        found_in(tmp_path / "a.mp3", VARIABLE[: len(VARIABLE) // 2])


@pytest.mark.parametrize("data", [VARIABLE, CONSTANT], ids=["variable", "constant"])
def test_a_file_that_ends_within_its_last_frame_says_so(tmp_path, data):
    samples, notes = found_in(tmp_path / "a.mp3", data[:-20])
    assert 64000 - 1200 < samples <= 64000 and notes == [MORE]


def test_mp3_in_a_wav(tmp_path):
    head = struct.pack(
        "<4sI4s4sIHHIIHH12s4sI", b"RIFF", 0, b"WAVE", b"fmt ", 28, 0x55, 1, 16000, 4000, 1, 0, bytes(12), b"data",
        len(CONSTANT),
    )  # fmt: skip
    assert found_in(tmp_path / "a.wav", head + CONSTANT)[0] == 64000


@pytest.mark.parametrize(
    ("header", "size", "samples"),
    [
        ("fff398c4", 360, 576),  # MPEG-2 layer III, 80 kbit/s, 16 kHz: 72000 * 80 / 16000
        ("fffb9064", 417, 1152),  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 144000 * 128 / 44100
        ("fffb9264", 418, 1152),  # the same, padded
        ("ffff1800", 48, 384),  # MPEG-1 layer I, 32 kbit/s, 32 kHz: 12000 * 32 / 32000 * 4
        ("fffd9404", 480, 1152),  # MPEG-1 layer II, 160 kbit/s, 48 kHz: 144000 * 160 / 48000
    ],
)
def test_sizes_of_frames(header, size, samples):
    frame = frame_of(bytes.fromhex(header))
    assert (frame.size, frame.samples) == (size, samples)


@pytest.mark.parametrize("header", ["00000000", "ffe10000", "fffb0064", "fffbf064", "fffb9c64", "ffeb9064", "fff1"])
def test_no_frames(header):
    assert frame_of(bytes.fromhex(header)) is None


def test_an_empty_frame_has_room_for_what_it_says():
    for header in ("fff398c4", "fffb9064", "ffe310c4", "fffb18c4"):
        frame = frame_of(bytes.fromhex(header))
        other = frame_of(empty_header(frame))
        assert other.like(frame) and other.size >= other.side + 160


def test_what_is_no_mp3_is_not_searched_to_its_end(tmp_path):
    """A first frame lies behind a tag and a little more, or there is none."""
    path = tmp_path / "a"
    path.write_bytes(b"\1" * 10)
    with path.open("r+b") as stream:
        stream.truncate(10**11)  # takes no room on the disk
    start = time.monotonic()
    with pytest.raises(BadAudio, match="is not audio"):
        read_header(path)
    path.write_bytes(ID3 + b"\1" * 10)
    with path.open("r+b") as stream:
        stream.truncate(10**11)
    with pytest.raises(BadAudio, match="is not audio"):
        read_header(path)
    assert time.monotonic() - start < 5


def test_frames_are_counted_fast(tmp_path):
    """Half an hour: 50,000 frames; the length is known before anything is decoded, and refused where it is too much."""
    path = tmp_path / "a.mp3"
    path.write_bytes(bare(CONSTANT) * 470)
    start = time.process_time()
    header = read_header(path)
    assert header.seconds == pytest.approx(470 * 4, rel=0.03)
    with pytest.raises(BadAudio, match="is too long: 1[89].. s"):
        check_length(header)
    assert time.process_time() - start < 5

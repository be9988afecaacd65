"""FLAC headers that do not say the number of samples, and Ogg streams behind another."""

import struct

import numpy as np
import pytest
from sounds import content, found_in, noise

from espnet2_secap.data.audio import BadAudio, decode
from espnet2_secap.data.parts import JOINED, LESS, MORE, NO_LENGTH
from espnet2_secap.data.xiph import LOST, OPEN, crc8, crc16

FLAC = content(noise(2.1), form="FLAC")


def says(data, samples):
    """FLAC with another number of samples in its header."""
    packed = int.from_bytes(data[18:26], "big")
    return data[:18] + (packed >> 36 << 36 | samples).to_bytes(8, "big") + data[26:]


def pages(data):
    """The pages of an Ogg stream."""
    found, at = [], 0
    while at < len(data):
        head = 27 + data[at + 26]
        end = at + head + sum(data[at + 27 : at + head])
        found.append(data[at:end])
        at = end
    return found


def test_checksums():
    """Known answers: CRC-8 (poly 07) of 123456789 is F4, CRC-16 (poly 8005, from 0) FEE8."""
    assert crc8(b"123456789") == 0xF4
    assert crc16(b"123456789") == 0xFEE8
    assert crc16(b"123456789\xfe\xe8") == 0


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (says(FLAC, 0), NO_LENGTH),
        (says(FLAC, 16000), LESS),
        (says(FLAC, 33600 + 44), MORE),
        (says(FLAC, 10**9), MORE),  # its last frame is whole: nothing is missing
        (says(FLAC, 0) + b"TAG" + b" " * 125, NO_LENGTH),
        (FLAC + b"\1" * 999, None),
        (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + FLAC, None),
        (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + says(FLAC, 0), NO_LENGTH),
    ],
)
def test_the_last_frame_of_a_flac_tells_its_length(tmp_path, data, note):
    assert found_in(tmp_path / "a.flac", data) == (33600, [note] if note else [])
    assert np.array_equal(decode(data, 16000).pcm, decode(FLAC, 16000).pcm)


@pytest.mark.parametrize("samples", [1, 400, 4096, 8192, 600000])
def test_flac_of_any_length(tmp_path, samples):
    data = content(noise(samples / 16000), form="FLAC")
    assert found_in(tmp_path / "a.flac", data) == (samples, [])
    assert found_in(tmp_path / "a.flac", says(data, 0)) == (samples, [NO_LENGTH])


def test_a_flac_with_much_behind_it(tmp_path):
    """Room that was set aside before is no sound, and no reason to refuse what stands before it."""
    whole = content(noise(2), form="FLAC")
    assert found_in(tmp_path / "a.flac", whole + bytes(1 << 19)) == (32000, [])
    with pytest.raises(BadAudio, match="cut short"):
        found_in(tmp_path / "a.flac", whole[:20000] + bytes(1 << 19))


@pytest.mark.parametrize("samples", [33600, 0])
def test_a_cut_flac_is_refused(tmp_path, samples):
    for end in (len(FLAC) // 2, len(FLAC) - 3):
        with pytest.raises(BadAudio, match="cut short"):
            found_in(tmp_path / "a.flac", says(FLAC, samples)[:end])


@pytest.mark.parametrize(("form", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_a_second_recording_is_read(tmp_path, form, subtype):
    one, two = (content(noise(seconds), form=form, subtype=subtype) for seconds in (2, 1))
    for both in ((one, two), (one, one)):
        samples = sum(len(decode(data, 16000).pcm) for data in both)
        assert found_in(tmp_path / "a", b"".join(both)) == (samples, [JOINED])
    assert np.array_equal(decode(one + two, 16000).pcm[32000:], decode(two, 16000).pcm)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_stream_without_its_end(tmp_path, subtype):
    every = pages(content(noise(12), form="OGG", subtype=subtype))
    samples, notes = found_in(tmp_path / "a.ogg", b"".join(every[:-1]))
    assert 160000 < samples < 192000 and notes == [OPEN]
    with pytest.raises(BadAudio, match="is cut short: its last Ogg page is incomplete"):
        found_in(tmp_path / "a.ogg", b"".join(every)[:-1000])
    lost = b"".join(every[:4] + every[5:])
    with pytest.raises(BadAudio, match="is cut short"):  # a second of it
        found_in(tmp_path / "a.ogg", lost)
    assert LOST == "with pages missing in an Ogg stream"


def test_bytes_before_the_stream(tmp_path):
    for form in ("FLAC", "OGG", "WAV"):
        samples, notes = found_in(tmp_path / "a", b"HTTP/1.1 200 OK\r\n\r\n" + content(noise(), form=form))
        assert samples == 16000 and "other bytes" in notes[-1]


def test_an_ogg_without_a_beginning(tmp_path):
    every = pages(content(noise(3), form="OGG", subtype="VORBIS"))
    with pytest.raises(BadAudio, match="no beginning"):
        found_in(tmp_path / "a.ogg", b"".join(every[3:]))
    assert struct.unpack("<q", every[0][6:14]) == (0,)

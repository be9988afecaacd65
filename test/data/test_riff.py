"""Sizes in the headers of WAV and its kin that are wrong: what is there is read, and the note says what was wrong."""

import io
import struct

import numpy as np
import pytest
import soundfile as sf
from sounds import content, found_in, noise, patched

from espnet2_secap.data.audio import BadAudio, decode
from espnet2_secap.data.parts import JOINED, LESS, MORE, NO_LENGTH
from espnet2_secap.data.riff import riff_parts

WAV = content(noise())  # 44 bytes of header, 32,000 of sound
LIST = b"LIST" + struct.pack("<I", 4) + b"abcd"
KINDS = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST"]


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (patched(WAV, 40, 0), NO_LENGTH),
        (patched(patched(WAV, 40, 0), 4, 0), NO_LENGTH),
        (patched(patched(WAV, 40, 0xFFFFFFFF), 4, 0xFFFFFFFF), NO_LENGTH),
        (patched(WAV, 40, 0x7FFFFFFF), NO_LENGTH),
        (patched(WAV, 40, 0) + LIST, NO_LENGTH),
        (patched(WAV, 40, 0xFFFFFFFF) + LIST, NO_LENGTH),
        (patched(WAV, 40, 16000), LESS),
        (patched(patched(WAV, 40, 16000), 4, 16036), LESS),
        (patched(WAV, 40, 32000 - 44), LESS),
        (patched(WAV, 40, 32044), MORE),
        (patched(patched(WAV, 40, 32044), 4, 32080), MORE),
        (patched(WAV, 40, 64000), MORE),  # the size of the whole is right, so nothing is missing
        (WAV + LIST, None),
        (WAV + b"id3 " + struct.pack("<I", 3) + b"abc\0" + LIST, None),
        (WAV + bytes(5000), None),
        (WAV + b"TAG" + b" " * 125, None),
        (WAV + b"<html>not found</html>", None),
        (WAV[:36] + b"note" + struct.pack("<I", 3) + b"abc" + WAV[36:], "odd length"),
        (WAV[:36] + b"LIST" + struct.pack("<I", 40) + b"abcd" + WAV[36:], "wrong length"),
        (WAV[:36] + b"LIST" + struct.pack("<I", 400000) + b"abcd" + WAV[36:], "wrong length"),
        (patched(WAV, 24, 0), "sampling rate"),
    ],
)
def test_the_sound_is_what_is_there(tmp_path, data, note):
    samples, notes = found_in(tmp_path / "a.wav", data)
    assert samples == 16000
    assert (notes == []) if note is None else note in notes[0]
    assert np.array_equal(decode(data, 16000).pcm, decode(WAV, 16000).pcm)


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_is_read_whole_joined_and_refused_where_half_is_missing(tmp_path, kind):
    data = content(noise(), form=kind)
    assert found_in(tmp_path / "a", data) == (16000, [])
    assert found_in(tmp_path / "a", data + data) == (32000, [JOINED])
    twice = decode(data + data, 16000).pcm
    assert np.array_equal(twice[:16000], twice[16000:])
    with pytest.raises(BadAudio, match=r"is cut short: \d+ of the 32000 bytes in its header; copy it again"):
        found_in(tmp_path / "a", data[: len(data) // 2])
    more = content(noise(2), form=kind)[-32000:]  # sound behind the end of the sound
    samples, notes = found_in(tmp_path / "a", data + more)
    assert (samples, notes) == (32000, [LESS])


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM", "IMA_ADPCM", "GSM610"]
)
def test_every_coding_of_wav(tmp_path, subtype):
    data = content(noise(), subtype=subtype)
    at = data.index(b"data") + 4
    (size,) = struct.unpack("<I", data[at : at + 4])
    whole, notes = found_in(tmp_path / "a.wav", data)
    assert 16000 <= whole < 16400 and notes == []
    assert found_in(tmp_path / "a.wav", patched(data, at, 0)) == (pytest.approx(whole, abs=320), [NO_LENGTH])
    assert found_in(tmp_path / "a.wav", patched(data, at, size + 44)) == (whole, [MORE])
    less = size // 2 - size // 2 % 512 if "ADPCM" in subtype else size // 2
    samples, notes = found_in(tmp_path / "a.wav", patched(data, at, less))
    assert samples == pytest.approx(whole, abs=320) and notes == [LESS]
    if b"fact" in data:  # the number of samples once more
        for number in (0, 1000, 10**8):
            lying = patched(data, data.index(b"fact") + 8, number)
            assert found_in(tmp_path / "a.wav", lying) == (whole, [])


def test_sizes_of_64_bits_that_are_not_filled_in(tmp_path):
    rf64, caf = content(noise(), form="RF64"), content(noise(), form="CAF")
    at = caf.index(b"data") + 4
    for data in (patched(patched(rf64, 20, 0, "<Q"), 28, 0, "<Q"), patched(caf, at, -1, ">q")):
        assert found_in(tmp_path / "a", data) == (16000, [NO_LENGTH])
    assert found_in(tmp_path / "a", patched(rf64, 28, 16000, "<Q")) == (16000, [LESS])


def test_a_second_chunk_of_sound_is_read(tmp_path):
    data = patched(WAV, 40, 16000)[:16044] + LIST + b"data" + struct.pack("<I", 16000) + WAV[16044:] + LIST
    assert found_in(tmp_path / "a.wav", data) == (16000, [JOINED])
    assert np.array_equal(decode(data, 16000).pcm, decode(WAV, 16000).pcm)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_16", "PCM_24"])
def test_a_whole_nist_file_of_any_coding(tmp_path, subtype):
    """libsndfile itself writes a number as text, `-s1 1`."""
    assert found_in(tmp_path / "a.sph", content(noise(), form="NIST", subtype=subtype)) == (16000, [])


@pytest.mark.parametrize(("missing", "read"), [(2, 15999), (3000, 14500), (3300, None), (16000, None)])
def test_a_tenth_of_a_second_may_be_missing_and_no_more(tmp_path, missing, read):
    """16 kHz, 16 bits: 3,200 bytes."""
    if read:
        assert found_in(tmp_path / "a.wav", WAV[:-missing]) == (read, [MORE])
    else:
        with pytest.raises(BadAudio, match=f"is cut short: {32000 - missing} of the 32000 bytes"):
            found_in(tmp_path / "a.wav", WAV[:-missing])


def test_joined_recordings_may_have_other_rates(tmp_path):
    data = WAV + content(noise(1, 8000), 8000) + content(np.stack([noise(1, 44100)] * 2, axis=1), 44100)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    assert len(decode(path, 16000).pcm) == 48000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (patched(WAV, 40, 0)[:44], "has no samples"),
        (patched(patched(WAV, 24, 0), 28, 0), "is not audio"),
        (patched(WAV, 22, 0, "<H"), "is not audio"),
        (WAV + content(noise(), form="FLAC"), "another format behind its own; make two files of it"),
        (WAV[:40], "no data chunk"),
        (WAV[:12], "no data chunk"),
        (b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n".ljust(2000), "shorten"),
    ],
)
def test_what_cannot_be_decoded_is_refused(tmp_path, data, said):
    with pytest.raises(BadAudio, match=said):
        found_in(tmp_path / "a.wav", data)


def test_hours_behind_a_header_that_says_a_second_are_refused_unread(tmp_path):
    path = tmp_path / "a.wav"
    with path.open("wb") as stream:  # takes no room on the disk
        stream.write(WAV + noise().tobytes())
        stream.truncate(len(WAV) + 3 * 3600 * 32000)
        stream.seek(0, io.SEEK_END)
        stream.write(b"\1" * 1000)
    with pytest.raises(BadAudio, match="is too long: more than 1800 s|is too long: 10801 s"):
        decode(path, 16000)


def test_other_files_are_none_of_these():
    assert riff_parts(io.BytesIO(b"OggS" * 100), 400) is None
    assert riff_parts(io.BytesIO(b""), 0) is None


def test_a_rebuilt_header_keeps_the_coding(tmp_path):
    """What libsndfile is given for a part is a file of its own."""
    for kind in ("WAV", "RF64", "W64", "AIFF", "CAF", "AU"):
        data = content(noise(), form=kind, subtype="PCM_24")
        (part, _) = riff_parts(io.BytesIO(data + data), 2 * len(data)).parts
        head, (start, end) = part.spans
        samples, rate = sf.read(io.BytesIO(head + data[start:end]))
        assert rate == 16000 and np.abs(samples - noise()).max() < 1e-6

"""Sound files with broken headers: the samples that are there, or one line; what the header got wrong is noted."""

import io

import numpy as np
import pytest
import soundfile as sf
from fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st
from sounds import tone

from espnet2_secap.data.audio import RATES, BadAudio, decode, read_header
from espnet2_secap.data.recordings import load_recording
from espnet2_secap.errors import SecError

RATE, LENGTH = 16000, 4000  # samples
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "wav 24 bits": ("WAVEX", "PCM_24"),
    "wav float": ("WAV", "FLOAT"),
    "wav mu-law": ("WAV", "ULAW"),
    "wav adpcm": ("WAV", "IMA_ADPCM"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
# Where a header tells how much there is: offset and bytes of a number that may lie, in files of libsndfile.
SIZES = {"wav": ((4, 4), (40, 4)), "aiff": ((4, 4),), "au": ((8, 4),), "flac": ((21, 1), (22, 4))}
LIES = st.one_of(st.sampled_from([0, 1, 44, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE]), st.integers(0, 2**32 - 1))


def made(kind: str) -> bytes:
    """A good file."""
    memory = io.BytesIO()
    form, subtype = KINDS[kind]
    sf.write(memory, tone(LENGTH / RATE), RATE, format=form, subtype=subtype)
    return memory.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {kind: made(kind) for kind in KINDS}


def sound(data: bytes):
    """Samples and notes; None and the line where it is refused."""
    try:
        decoded = decode(data, RATE)
        notes = [*read_header(data).notes(RATE), *decoded.notes]
    except BadAudio as err:
        assert "\n" not in str(err) and len(str(err)) < 300
        return None, [str(err)]
    assert decoded.pcm.dtype == np.int16 and decoded.pcm.ndim == 1
    return decoded.pcm, notes


@pytest.mark.parametrize("kind", KINDS)
def test_broken_bytes_are_one_line_or_samples(kind, files):
    data = files[kind]

    @cases(40)
    @given(
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=3),
        st.sampled_from(["", "", "cut", "tail", "twice", "front"]),
        st.integers(0, len(data)),
        st.binary(max_size=64),
    )
    def try_out(changes, how, at, junk):
        broken = bytearray(data)
        for place, value in changes:
            broken[min(place, len(broken) - 1)] = value
        broken = bytes(broken)
        broken = {
            "": broken,
            "cut": broken[:at],
            "tail": broken + junk,
            "twice": broken + data,
            "front": junk + broken,
        }[how]
        pcm, notes = sound(broken)
        assert pcm is None or len(pcm) <= 2 * len(broken) * RATE / RATES[0], notes  # a rate is believed, no length

    try_out()


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_around_a_sound_loses_none_of_it(kind, files):
    """A file that was cut says so, one behind another is read too, and other bytes around it are passed over."""
    data = files[kind]
    whole, notes = sound(data)
    assert len(whole) >= LENGTH and not notes

    @cases(15)
    @given(st.sampled_from(["cut", "tail", "front"]), st.integers(0, len(data) - 1), st.binary(min_size=1, max_size=64))
    def try_out(how, at, junk):
        broken = {"cut": data[:at], "tail": data + junk, "front": junk + data}[how]
        pcm, notes = sound(broken)
        if pcm is None:
            return
        if len(pcm) < LENGTH * 0.98:
            assert notes, f"{len(pcm)} of {LENGTH} samples of {how} {at} without a word"
        elif how == "front" or (how == "tail" and kind != "au"):  # au: its sound goes to the end
            assert len(pcm) <= len(whole) + LENGTH // 20 or notes

    try_out()


@pytest.mark.parametrize("kind", SIZES)
def test_a_header_that_lies_about_the_size_is_not_believed(kind, files):
    data = files[kind]
    whole, _ = sound(data)

    @cases(40)
    @given(st.sampled_from(SIZES[kind]), LIES)
    def try_out(place, lie):
        start, size = place
        number = (lie % 256**size).to_bytes(size, "little" if kind == "wav" else "big")
        if kind == "flac" and size == 1:
            number = bytes([(data[start] & 0xF0) | (number[0] & 0x0F)])  # four bits of the total
        pcm, notes = sound(data[:start] + number + data[start + size :])
        if pcm is None:
            assert any(word in notes[0] for word in ("cut short", "header", "decoded")), notes
        elif not np.array_equal(pcm, whole):
            assert notes, f"{len(pcm)} of {len(whole)} samples with {number!r} at {start}, without a word"

    try_out()


@pytest.mark.parametrize("kind", KINDS)
def test_captioning_reads_what_stage_2_reads(kind, files, tmp_path):
    data = files[kind]

    @cases(8)
    @given(
        st.sampled_from(["", "cut", "tail", "byte"]), st.integers(0, len(data) - 1), st.binary(min_size=1, max_size=9)
    )
    def try_out(how, at, junk):
        byte = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        broken = {"": data, "cut": data[:at], "tail": data + junk, "byte": byte}[how]
        path = tmp_path / "a.bin"
        path.write_bytes(broken)
        pcm, notes = sound(broken)
        try:
            samples = load_recording(path, RATE)
        except SecError as err:
            assert pcm is None and "\n" not in str(err), (err, notes)
        else:
            np.testing.assert_array_equal(samples, pcm / np.float32(32768))

    try_out()

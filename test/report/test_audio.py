import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_secap.report import audio
from espnet2_secap.report.audio import Players, find_audio
from espnet2_secap.report.collect import Score


def tone(path, seconds=1.0, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate), rate)
    return path


def test_recordings_are_found_beside_the_references(tmp_path):
    there = tone(tmp_path / "a.wav")
    score = Score("x", "test", {}, {"ref": str(tmp_path / "captions")})
    assert find_audio(score) == ({}, [])  # no wav.scp
    long = "cat " + "x" * 5000 + " |"
    (tmp_path / "wav.scp").write_text(f"a {there}\nb {tmp_path / 'gone.wav'}\nc {long}\n")
    assert find_audio(score) == ({"a": there}, [])
    assert find_audio(Score("x", "test", {})) == ({}, [])


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_embedded_recordings_sound_as_they_did(tmp_path, suffix):
    players = Players(tmp_path / "RESULTS.html", 1)
    (address,) = players.addresses([tone(tmp_path / f"a.{suffix}", 2.0, 24000)])
    kind, content = address.split(",")
    assert kind == "data:audio/mpeg;base64" and (players.embedded, players.linked) == (1, 0)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert rate == 16000 and 2.0 <= len(samples) / rate < 2.2
    spectrum = np.abs(np.fft.rfft(samples[8000:24000]))  # bins of 1 Hz
    assert spectrum.argmax() == 440


def test_beyond_the_limit_they_are_linked(tmp_path):
    page = tmp_path / "exp" / "RESULTS.html"
    paths = [tone(tmp_path / "dump" / f"#{at} ü.wav") for at in range(3)]
    size = len(Players(page, 1).addresses(paths[:1])[0])
    players = Players(page, 2.5 * size / 1e6)
    addresses = players.addresses(paths)
    assert [one[:5] for one in addresses] == ["data:", "data:", "../du"]
    assert addresses[2] == "../dump/%232%20%C3%BC.wav" and (players.embedded, players.linked) == (2, 1)
    assert Players(page, 0).addresses(paths[:1]) == ["../dump/%230%20%C3%BC.wav"]


def test_what_cannot_be_read_is_linked_too(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    players = Players(tmp_path / "RESULTS.html", 1)
    first, second = players.addresses([tmp_path / "a.wav", tone(tmp_path / "b.wav")])
    assert first == "a.wav" and players.linked == 1 and second.startswith("data:")


def test_recordings_keep_their_order_and_none_is_encoded_beyond_the_limit(tmp_path, monkeypatch):
    encoded = []
    monkeypatch.setattr(audio, "BATCH", 4)
    monkeypatch.setattr(audio, "_mp3", lambda path: encoded.append(path) or f"data:{path.name}")
    paths = [tmp_path / f"{at:02d}" for at in range(12)]
    players = Players(tmp_path / "RESULTS.html", 6 * len("data:00") / 1e6)
    assert players.addresses(paths) == [f"data:{at:02d}" for at in range(6)] + [f"{at:02d}" for at in range(6, 12)]
    assert sorted(encoded) == paths[:8] and (players.embedded, players.linked) == (6, 6)


def test_only_recordings_below_the_folder_of_the_wav_scp_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    private = tone(tmp_path / "private.wav")
    inside = tone(tmp_path / "dump" / "raw" / "test" / "data" / "a.wav")
    (inside.parent / "link.wav").symlink_to(private)
    tone(tmp_path / "dump" / "raw" / "test2" / "e.wav")
    names = {
        "a": "dump/raw/test/data/a.wav",
        "b": str(private),
        "c": "dump/raw/test/../../../private.wav",
        "d": "dump/raw/test/data/link.wav",
        "e": "dump/raw/test2/e.wav",
        "f": "dump/raw/test/data/gone.wav",
    }
    scp = tmp_path / "dump" / "raw" / "test" / "wav.scp"
    scp.write_text("".join(f"{utt} {name}\n" for utt, name in names.items()))
    score = Score("x", "test", {}, {"ref": "dump/raw/test/captions"})
    assert find_audio(score) == ({"a": Path(names["a"])}, ["b", "c", "d", "e"])


def test_a_dump_on_another_disk_is_taken(tmp_path):
    there = tone(tmp_path / "disk" / "raw" / "test" / "a.wav")
    (tmp_path / "dump").symlink_to(tmp_path / "disk")
    (there.parent / "wav.scp").write_text(f"a {tmp_path}/dump/raw/test/a.wav\n")
    score = Score("x", "test", {}, {"ref": str(tmp_path / "dump" / "raw" / "test" / "captions")})
    assert find_audio(score) == ({"a": tmp_path / "dump" / "raw" / "test" / "a.wav"}, [])


@pytest.mark.parametrize(("form", "kind"), [("FLAC", "flac"), ("MP3", "mpeg")])
def test_samples_as_an_address(form, kind):
    samples = (8000 * np.sin(np.arange(24000) / 10)).astype(np.int16)
    head, content = audio.data_address(samples, 24000, form).split(",")
    assert head == f"data:audio/{kind};base64"
    read, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    assert rate == 24000 and len(read) >= 24000
    if form == "FLAC":
        np.testing.assert_array_equal(read, samples)

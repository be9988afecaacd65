"""ffmpeg as a program: what it is told, and what its words become; with a script of that name where that is enough."""

import shutil

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.data.audio import BadAudio
from espnet2_secap.data.ffmpeg import ENDINGS, FORMATS, decoded, installed

needs_ffmpeg = pytest.mark.needs("ffmpeg")


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Make a program `ffmpeg` of this shell script, the only one on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(script: str) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "ffmpeg").chmod(0o755)

    return make


def test_it_is_installed_where_it_is_on_path(ffmpeg):
    assert installed() is False
    with pytest.raises(BadAudio, match="needs ffmpeg, which is not on PATH"), decoded("a.m4a"):
        pass
    ffmpeg("exit 0")
    assert installed() is True


def test_it_may_open_local_files_only_and_writes_16_bits(ffmpeg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ffmpeg(f'printf "%s\\n" "$@" > {tmp_path}/told')
    with decoded("-a.m4a") as made:
        folder = made.parent
        assert folder.is_dir()
    assert not folder.exists()
    told = (tmp_path / "told").read_text().splitlines()
    pairs = dict(zip(told, told[1:], strict=False))
    assert "-nostdin" in told and pairs["-protocol_whitelist"] == "file" and pairs["-format_whitelist"] == FORMATS
    assert pairs["-i"] == f"file:{tmp_path}/-a.m4a" and pairs["-map"] == "0:a:0"
    assert pairs["-c:a"] == "pcm_s16le" and pairs["-f"] == "w64" and told[-1] == str(made)
    assert not {"hls", "concat", "dash", "tee"} & set(FORMATS.split(","))


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo one >&2; echo two >&2; exit 1", r"cannot be decoded by ffmpeg \(two\); copy it again"),
        ("exit 1", r"cannot be decoded by ffmpeg \(no message\)"),
        ("echo \"Stream map '0:a:0' matches no streams.\" >&2; echo Error >&2; exit 1", "has no sound track"),
    ],
)
def test_what_it_says_is_the_reason(ffmpeg, script, said):
    ffmpeg(script)
    with pytest.raises(BadAudio, match=said), decoded("a.m4a"):
        pass


def test_what_it_warns_of_is_no_error(ffmpeg, tmp_path):
    sf.write(tmp_path / "sound.w64", np.full(800, 0.5), 8000)
    copy = shutil.which("cp", path="/bin:/usr/bin")
    ffmpeg(f'echo warning >&2; for last; do :; done; {copy} {tmp_path}/sound.w64 "$last"')
    with decoded("a.m4a") as made:
        samples, rate = sf.read(made)
    assert rate == 8000 and len(samples) == 800 and abs(samples - 0.5).max() < 1e-4


def test_endings_of_sound_and_of_video():
    assert {".m4a", ".mp4", ".wma", ".amr"} <= ENDINGS and ".wav" not in ENDINGS


def test_a_program_that_takes_too_long_is_ended(monkeypatch, tmp_path):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BadAudio, match="longer than 0.2 s"), decoded(tmp_path / "a.m4a", seconds=0.2):
        pass


@needs_ffmpeg
def test_a_wav_file_through_ffmpeg_keeps_its_samples(tmp_path):
    samples = (np.sin(np.arange(8000) / 20) * 9000).astype(np.int16)
    sf.write(tmp_path / "a.wav", samples, 16000)
    shutil.copy(tmp_path / "a.wav", tmp_path / "a b'c.m4a")
    with decoded(tmp_path / "a b'c.m4a") as made:
        found, rate = sf.read(made, dtype="int16")
    assert rate == 16000 and np.array_equal(found, samples) and not made.exists()


@needs_ffmpeg
def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "a.m4a").write_text("#EXTM3U\nhttp://127.0.0.1:9/x.ts\n")
    with pytest.raises(BadAudio, match="cannot be decoded by ffmpeg"), decoded(tmp_path / "a.m4a"):
        pass

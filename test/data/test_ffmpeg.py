import shutil

import numpy as np
import pytest
import soundfile

from espnet2_secap.data import ffmpeg
from espnet2_secap.data.audio import BadAudio

needs_ffmpeg = pytest.mark.needs("ffmpeg")


def test_without_ffmpeg_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    assert not ffmpeg.installed()
    with pytest.raises(BadAudio, match="needs ffmpeg, which is not on PATH"), ffmpeg.decoded(tmp_path / "a.m4a"):
        pass


def test_a_program_that_takes_too_long_is_ended(monkeypatch, tmp_path):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BadAudio, match="longer than 0.2 s"), ffmpeg.decoded(tmp_path / "a.m4a", seconds=0.2):
        pass


@needs_ffmpeg
def test_a_wav_file_through_ffmpeg_keeps_its_samples(tmp_path):
    samples = (np.sin(np.arange(8000) / 20) * 9000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    shutil.copy(tmp_path / "a.wav", tmp_path / "a b'c.m4a")
    with ffmpeg.decoded(tmp_path / "a b'c.m4a") as made:
        found, rate = soundfile.read(made, dtype="int16")
    assert rate == 16000 and np.array_equal(found, samples) and not made.exists()


@needs_ffmpeg
def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "a.m4a").write_text("#EXTM3U\nhttp://127.0.0.1:9/x.ts\n")
    with pytest.raises(BadAudio, match="cannot be decoded by ffmpeg"), ffmpeg.decoded(tmp_path / "a.m4a"):
        pass

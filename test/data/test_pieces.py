"""Parts of recordings: what is cut, and what cannot be."""

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.data.audio import BadAudio
from espnet2_secap.data.pieces import Recordings, cut
from espnet2_secap.data.segments import Segment

FS = 1000
SOUND = np.arange(2000, dtype=np.int16)  # 2 s


@pytest.mark.parametrize(
    ("start", "end", "first", "samples"),
    [(0, 1, 0, 1000), (0.5, 0.75, 500, 250), (1.5, -1, 1500, 500), (1, 2.4, 1000, 1000), (1.9995, 2, 2000, 0)],
)
def test_what_is_cut(start, end, first, samples):
    """An end of -1 is the recording's; one that lies up to 0.5 s beyond it is moved there, as in Kaldi."""
    if samples:
        assert np.array_equal(cut(SOUND, FS, Segment("r", start, end)), SOUND[first : first + samples])
    else:
        with pytest.raises(BadAudio, match="has no samples"):
            cut(SOUND, FS, Segment("r", start, end))


@pytest.mark.parametrize(
    ("start", "end", "said"), [(2, 3, "starts after"), (2.5, -1, "starts after"), (1, 2.6, "ends after")]
)
def test_what_lies_beyond_the_recording(start, end, said):
    with pytest.raises(
        BadAudio, match=f"{said} the recording's end; its segment {start:g} .* has 2.00 s; fix segments"
    ):
        cut(SOUND, FS, Segment("r", start, end))


def test_a_recording_is_read_once_for_all_its_segments(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, np.random.default_rng(0).standard_normal((8000, 2)) * 0.1, 8000)
    recordings = Recordings(16000, 10.0)
    assert recordings.notes(str(path)) == ["2 channels averaged to mono", "upsampled from 8000 Hz"]
    whole = recordings.read(str(path))
    assert whole.pcm.shape == (16000,) and whole.pcm.dtype == np.int16
    path.write_bytes(b"not read again")
    assert recordings.read(str(path)) is whole
    with pytest.raises(BadAudio, match="does not exist"):
        recordings.read(str(tmp_path / "none.wav"))
    with pytest.raises(BadAudio):  # the other one was let go
        recordings.read(str(path))

import json
import subprocess
import sys

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.feats.shapes import write_shape_file


def test_audio(tmp_path):
    (tmp_path / "utt2num_samples").write_text("a 16000\nb 400\n")
    lengths = write_shape_file(tmp_path, tmp_path / "new" / "speech_shape")
    assert lengths == {"a": 16000, "b": 400}
    assert (tmp_path / "new" / "speech_shape").read_text() == "a 16000\nb 400\n"


def test_features_with_all_layers(tmp_path):
    (tmp_path / "utt2num_frames").write_text("a 49\nb 1\n")
    (tmp_path / "config.json").write_text(json.dumps({"num_layers": 3, "dim": 32}))
    write_shape_file(tmp_path, tmp_path / "speech_shape")
    assert (tmp_path / "speech_shape").read_text() == "a 49,96\nb 1,96\n"


def test_bad_input(tmp_path):
    output = tmp_path / "speech_shape"
    with pytest.raises(SecError, match="neither utt2num_frames .stage 3. nor utt2num_samples .stage 2. is there"):
        write_shape_file(tmp_path, output)
    (tmp_path / "utt2num_frames").write_text("a 49\n")
    with pytest.raises(SecError, match="config.json: missing or broken; run stage 3"):
        write_shape_file(tmp_path, output)
    (tmp_path / "config.json").write_text('{"num_layers": 1, "dim": 6}')
    (tmp_path / "utt2num_frames").write_text("a 0\n")
    with pytest.raises(SecError, match="utt2num_frames:1: a: '0' is not a positive number"):
        write_shape_file(tmp_path, output)
    assert not output.exists()


def test_no_torch():
    code = "import sys, espnet2_secap.bin.sec_extract_feats; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

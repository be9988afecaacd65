import json
import subprocess
import sys

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.feats.shapes import read_lengths, write_shape_file


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
    with pytest.raises(SecError, match="stage 3 makes it.*stage 2 makes it"):
        write_shape_file(tmp_path, output)
    (tmp_path / "utt2num_frames").write_text("a 49\n")
    with pytest.raises(SecError, match="config.json: missing or broken; run stage 3"):
        write_shape_file(tmp_path, output)
    for value in ("0", "-3", "4.5", "x"):
        (tmp_path / "utt2num_frames").write_text(f"a {value}\n")
        with pytest.raises(SecError, match="a: .* is not a positive number"):
            read_lengths(tmp_path / "utt2num_frames")
    assert not output.exists()


def test_no_torch():
    code = "import sys, espnet2_secap.bin.sec_extract_feats; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""Kaldi's segments: lines that are read, and lines that are not."""

import pytest

from espnet2_secap.data.segments import Segment, parse_segment, read_segments
from espnet2_secap.errors import SecError


def test_segments_are_read(tmp_path):
    assert read_segments(tmp_path) is None
    (tmp_path / "segments").write_text("a-1 a 0.00 1.5\na-2 a  1.5\t-1\n")
    assert read_segments(tmp_path) == {"a-1": Segment("a", 0.0, 1.5), "a-2": Segment("a", 1.5, -1.0)}


@pytest.mark.parametrize(
    "value", ["a 0", "a 0 1 A", "a 1 1", "a 2 1", "a -1 1", "a 0 -2", "a x 1", "a 0 inf", "a nan 1", "a 0 nan", ""]
)
def test_bad_lines_name_file_line_and_id(tmp_path, value):
    (tmp_path / "segments").write_text(f"u {value or 'a'}\n")
    with pytest.raises(SecError, match="segments:1: u: .*; fix"):
        read_segments(tmp_path)
    with pytest.raises(ValueError):
        parse_segment(value)

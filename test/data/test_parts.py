"""Spans of a file as a file."""

import io

import pytest

from espnet2_secap.data.parts import Found, View, find, is_cut_short, read_at


def test_spans_and_bytes_are_one_file():
    view = View(io.BytesIO(b"0123456789"), [b"ab", (2, 5), b"", (8, 10)])
    assert view.read() == b"ab23489"
    assert view.seek(-3, io.SEEK_END) == 4 and view.read(2) == b"48"
    assert view.seek(-5, io.SEEK_CUR) == 1 and view.tell() == 1 and view.read(3) == b"b23"
    view.seek(99)
    assert view.read(1) == b""
    view.close()
    assert view.stream.closed


def test_a_file_that_became_shorter_ends_early():
    assert View(io.BytesIO(b"0123"), [(2, 9)]).read() == b"23"


@pytest.mark.parametrize("block", [3, 4, 100])
def test_find_over_the_borders_of_blocks(block):
    stream = io.BytesIO(b"aafLaCafLaC")
    assert find(stream, b"fLaC", 0, 11, block) == 2
    assert find(stream, b"fLaC", 3, 11, block) == 7
    assert find(stream, b"fLaC", 3, 10, block) == -1
    assert read_at(stream, 9, 100) == b"aC"


def test_what_is_missing_is_the_headers_up_to_a_tenth_of_a_second():
    assert not is_cut_short(512, 0) and is_cut_short(513, 0)
    assert not is_cut_short(3200, 32000) and is_cut_short(3201, 32000)


def test_a_note_is_made_once():
    found = Found()
    found.note("a")
    found.note("a")
    assert found.notes == ["a"]

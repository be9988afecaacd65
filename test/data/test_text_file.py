"""One way to read text: byte order marks, line ends, and what is no table of `id value` lines."""

import pytest

from espnet2_secap.data.text_file import foreign_format, read_json, read_lines, read_table, read_text
from espnet2_secap.errors import SecError


def written(tmp_path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    return tmp_path / "file"


@pytest.mark.parametrize("content", [b"a\nb\n", b"\xef\xbb\xbfa\nb\n", b"a\r\nb\r\n", b"a\rb\r", b"\xef\xbb\xbfa\rb"])
def test_byte_order_marks_and_line_ends_are_no_text(tmp_path, content):
    assert read_lines(written(tmp_path, content)) == ["a", "b"]


def test_only_line_ends_end_lines(tmp_path):
    odd = "a\u2028b\u0085c\u2029d"
    path = written(tmp_path, f"{odd}\n\u3000 x \n\n".encode())
    assert read_text(path) == f"{odd}\n\u3000 x \n\n"
    assert read_lines(path) == [odd, "x"] and read_table(path) == [[odd], ["\u3000 x "]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\n".encode("utf-16"), "is UTF-16 or UTF-32, must be UTF-8; convert it: iconv"),
        ("a b c\n".encode("utf-16-le"), "is UTF-16"),
        ("a b c\n".encode("utf-32-be"), "is UTF-16"),
        ("好\n高兴".encode("gb18030"), ":1: is not UTF-8; convert the file with iconv"),
        (b"a\nb\0c\n", ":2: b?c: holds a control character; remove it"),
        (b"a\nb\rc\n", ":2: b?c: holds a control character; remove it"),
    ],
)
def test_what_is_no_text_is_one_line(tmp_path, content, said):
    with pytest.raises(SecError, match="^[^\n]*$") as err:
        read_lines(written(tmp_path, content))
    assert said in str(err.value)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SecError, match=f"{path.name}: does not exist; make it"):
            read_text(path)


def test_json(tmp_path):
    assert read_json(written(tmp_path, b'{"a": 1, "a": 2}')) == {"a": 2}
    assert read_json(written(tmp_path, b'\xef\xbb\xbf{"a":\r\n 1}')) == {"a": 1}
    for content in (b"{", b"[" * 99999, b"", b'{"a": {"b": 1, "c": 2, "b": 3}}'):
        with pytest.raises(SecError, match="file: is not JSON .*; get it again"):
            read_json(written(tmp_path, content), "get it again", by_hand=True)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"id": "a", "captions": ["x"]}'], "looks like JSON"),
        (["{", '"a": "x"', "}"], "looks like JSON"),
        (['[{"id": "a"}]'], "looks like JSON"),
        (["id,caption", "a,x"], "looks like CSV with a header (id,caption)"),
        (['"ID","Caption"', '"a","a voice"'], "looks like CSV with a header"),
        (["utt_id;text", "a;x"], "looks like CSV with a header"),
        (["id\tcaption", "a\tx"], "looks like TSV with a header"),
        (["", "file emotion", "a sad"], "looks like a table with a header"),
        (["a,An angry voice", "b,A sad voice"], "looks like CSV"),
        (['"a","A voice"', '"b","A voice"'], "looks like CSV"),
        (["a;x", "b;y"], "looks like CSV"),
        (['"a"\tA voice', '"b"\tA voice'], "has ids in quotes"),
    ],
)
def test_other_formats_are_recognised(lines, said):
    assert said in foreign_format(lines) and "expected lines `id value`" in foreign_format(lines)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["", " "],
        ['a ["x", "y"]'],
        ["a [笑] 好"],
        ["id1 caption"],
        ["id x.wav"],
        ["speaker1,session2 A voice", "speaker1,session3 A voice"],
        ["a,b c"],
        ["a,b c", "d e"],
        ['"q" x'],
        ["a x,y", "b x,z"],
    ],
)
def test_lines_of_ids_and_values_are_no_other_format(lines):
    assert foreign_format(lines) is None

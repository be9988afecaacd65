"""Kaldi-style files: what is read back, and what is refused."""

import pytest

from espnet2_secap.data.io import (
    bad_id,
    file_name,
    invert,
    read_captions,
    read_kaldi,
    read_lengths,
    read_shapes,
    read_yaml,
    scan_lines,
    write_captions,
    write_kaldi,
)
from espnet2_secap.errors import SecError


def test_read_back_what_was_written_sorted_by_bytes(tmp_path):
    write_kaldi(tmp_path / "text", {"b": "你好\u3000世界", "é": "x  y", "a": 3, "Z": "z"})
    assert (tmp_path / "text").read_bytes() == "Z z\na 3\nb 你好\u3000世界\né x  y\n".encode()
    assert read_kaldi(tmp_path / "text") == {"Z": "z", "a": "3", "b": "你好\u3000世界", "é": "x  y"}


def test_tabs_and_blanks_separate_id_and_value(tmp_path):
    (tmp_path / "text").write_text("a\tone two \nb   three\n", encoding="utf-8")
    assert read_kaldi(tmp_path / "text") == {"a": "one two", "b": "three"}


def test_a_last_line_without_newline_counts(tmp_path):
    (tmp_path / "text").write_bytes(b"a 1\nb 2")
    assert read_kaldi(tmp_path / "text") == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "text: is empty"),
        (b"  \n", "text: is empty"),
        (b"\xef\xbb\xbfa 1\n", "text:1: begins with a byte order mark"),
        (b"a 1\nb 2\r\n", "text:2: b: ends with CRLF"),
        (b"a 1\nb 2\na 3\n", "text:3: a: the id is there twice"),
        (b"a 1\nb\n", "text:2: b: has no value"),
        (b"a 1\n\nb 2\n", "text:2: has no id"),
        (b"a 1\nb \xff\xfe\n", "text:2: b: is not UTF-8"),
    ],
)
def test_refused_with_file_and_line(tmp_path, content, said):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(SecError) as error:
        read_kaldi(tmp_path / "text")
    assert str(error.value).startswith(str(tmp_path / said.split(":")[0]))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SecError, match="nothing: does not exist"):
        read_kaldi(tmp_path / "nothing")


def test_every_bad_line_is_listed(tmp_path):
    (tmp_path / "text").write_bytes(b"a 1\r\nb\nc 3\nc 4\n")
    entries, problems = scan_lines(tmp_path / "text")
    assert [problem.split(":")[1] for problem in problems] == ["1", "2", "4"]
    assert entries == [(1, "a", "1"), (2, "b", ""), (3, "c", "3")]


def test_captions_there_and_back(tmp_path):
    captions = {"b": ['她说"好"，很高兴'], "a": ["one", "two"]}
    write_captions(tmp_path / "captions", captions)
    assert read_captions(tmp_path / "captions") == captions
    assert "很高兴" in (tmp_path / "captions").read_text(encoding="utf-8")  # not escaped: grep finds it


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("她很高兴", "is not JSON"),
        ('"她很高兴"', "is not a list"),
        ("[1]", "is not a list"),
        ("[]", "has no caption"),
        ('["a", " "]', "empty caption"),
        ("[" * 100000, "is not JSON"),
    ],
)
def test_bad_captions_are_refused_with_their_line(tmp_path, value, said):
    (tmp_path / "captions").write_text(f'a ["x"]\nb {value}\n', encoding="utf-8")
    with pytest.raises(SecError, match=rf"captions:2: b: .*{said}"):
        read_captions(tmp_path / "captions")


@pytest.mark.parametrize("table", [{"a b": "1"}, {"": "1"}, {"a": ""}, {"a": "x\ny"}, {"a": "x\r"}])
def test_what_could_not_be_read_back_is_not_written(tmp_path, table):
    write_kaldi(tmp_path / "text", {"a": "old"})
    with pytest.raises(SecError):
        write_kaldi(tmp_path / "text", table)
    assert read_kaldi(tmp_path / "text") == {"a": "old"}


@pytest.mark.parametrize("value", ["a caption", [], ["a", ""]])
def test_captions_must_be_lists_of_sentences(tmp_path, value):
    with pytest.raises(SecError, match="a: (is not a list|has)"):
        write_captions(tmp_path / "captions", {"a": value})


@pytest.mark.parametrize("utt_id", ["", "a b", "a\u3000b", "a\0", "字" * 100])
def test_ids_that_are_none(utt_id):
    assert bad_id(utt_id)


PLAIN_IDS = ["tx_emotion_00201000015", "a-b.c", "张三_1", "a" * 200, "100%", "%s%2", "%%"]
ODD_IDS = ["../x", "a/b", "a%2Fb", "a%252Fb", "/etc/x", "a\\b", "-rf", ".", "..", "/" * 200, "/" * 199 + "a", "%2F"]


def test_every_id_has_a_file_name_of_its_own_within_its_folder():
    names = [file_name(utt_id) for utt_id in PLAIN_IDS + ODD_IDS]
    assert names[: len(PLAIN_IDS)] == PLAIN_IDS and len(set(names)) == len(names)
    for utt_id, name in zip(PLAIN_IDS + ODD_IDS, names, strict=True):
        assert bad_id(utt_id) is None
        assert "/" not in name and "\\" not in name and name[0] not in "-." and len(name.encode()) <= 200


def test_invert_lists_ids_in_order():
    assert invert({"b": "s1", "a": "s1", "c": "s2"}) == {"s1": "a b", "s2": "c"}


def test_lengths(tmp_path):
    (tmp_path / "utt2num_frames").write_text("a 1\nb 16000\n")
    assert read_lengths(tmp_path / "utt2num_frames") == {"a": 1, "b": 16000}


@pytest.mark.parametrize("value", ["0", "-3", "4.5", "x", "1 2", "²", "1_0", "9" * 5000])
def test_lengths_that_are_none_are_refused_with_their_line(tmp_path, value):
    (tmp_path / "utt2num_samples").write_text(f"a 1\nb {value}\n", encoding="utf-8")
    with pytest.raises(SecError, match="utt2num_samples:2: b: .* is not a positive number; run") as err:
        read_lengths(tmp_path / "utt2num_samples")
    assert len(str(err.value)) < 400


def test_empty_captions_are_a_systems_own(tmp_path):
    captions = {"a": ["", "one"]}
    write_captions(tmp_path / "captions", captions, may_be_empty=True)
    assert read_captions(tmp_path / "captions", may_be_empty=True) == captions
    with pytest.raises(SecError, match="captions:1: a: has an empty caption"):
        read_captions(tmp_path / "captions")


@pytest.mark.parametrize("content", ["a: [", "a: 1\na: 2", "- 1", "5", "a: " + "[" * 5000, "\udcff"])
def test_what_is_not_a_yaml_file_of_options_is_one_line(tmp_path, content):
    (tmp_path / "conf.yaml").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SecError, match="conf.yaml: not a YAML file") as err:
        read_yaml(tmp_path / "conf.yaml")
    assert "\n" not in str(err.value)


def test_shapes(tmp_path):
    (tmp_path / "shape").write_text("a 12,768\nb 7\n")
    assert read_shapes(tmp_path / "shape") == {"a": (12, 768), "b": (7,)}
    for bad in ("0", "1,", "x", "1 2", "1,-2", "1.5,8"):
        (tmp_path / "shape").write_text(f"a {bad}\n")
        with pytest.raises(SecError, match="shape:1: a: .* is not `length` or `length,width`; run stage 4 again"):
            read_shapes(tmp_path / "shape")

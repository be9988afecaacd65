import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.caption_file import clues_of_decoding, read_caption_file

RESULT = """file: tx_1.wav
origin: 心里高兴
result: 很高兴
result2: 开心
result3:

file: sub/folder/tx.2.wav
origin: 难过
result2: 伤心
result: 悲伤
result3: 难过: 极了
"""
WANTED = {"a": ["高兴", "开心 极了"], "b": ["难过"]}


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        'a ["高兴", "开心 极了"]\nb ["难过"]\n',
        '{"a": ["高兴", "开心 极了"], "b": "难过"}',
        '\n{\n"a": ["高兴", "开心 极了"],\n"b": ["难过"]\n}\n',
        '{"a": ["高兴", "开心 极了"]}\n{"b": "难过"}\n',
        '{"id": "a", "captions": ["高兴", "开心 极了"]}\n\n{"id": "b", "caption": "难过"}\n',
        '[{"id": "a", "texts": ["高兴", "开心 极了"], "text": "x"}, {"id": "b", "text": "难过"}]',
        "\ufeff" + '{"a": ["高兴", "开心 极了"], "b": "难过"}',
    ],
)
@pytest.mark.parametrize("system", [True, False])
def test_forms(tmp_path, content, system):
    assert read_caption_file(write(tmp_path / "captions", content), system) == WANTED


def test_kaldi_text(tmp_path):
    path = write(tmp_path / "text", "a 高兴 [笑]\nb  难过\t极了\nc [笑] 好\n")
    assert read_caption_file(path, system=False) == {"a": ["高兴 [笑]"], "b": ["难过\t极了"], "c": ["[笑] 好"]}


def test_an_empty_caption_is_a_systems_own(tmp_path):
    for content in ("a\nb 难过\n", 'a [""]\nb ["难过"]\n', '{"a": "", "b": "难过"}'):
        path = write(tmp_path / "text", content)
        assert read_caption_file(path, system=True) == {"a": [""], "b": ["难过"]}
        with pytest.raises(SecError, match="text.*a: has .*; add"):
            read_caption_file(path, system=False)


def test_one_json_line_is_one_utterance(tmp_path):
    assert read_caption_file(write(tmp_path / "x", '{"id": "a", "caption": "好"}'), system=True) == {"a": ["好"]}


def test_candidates_of_sec_inference_as_many_as_it_keeps(tmp_path):
    row = {
        "id": "a",
        "audio": "a",
        "candidates": [{"text": "一", "score": 1}, {"text": "二"}, {"text": "三"}],
        "kept": 2,
    }
    assert read_caption_file(write(tmp_path / "candidates.jsonl", json.dumps(row)), system=True) == {"a": ["一", "二"]}


def test_released_result_txt(tmp_path):
    path = write(tmp_path / "result.txt", RESULT)
    assert read_caption_file(path, system=False) == {"tx_1": ["心里高兴"], "tx.2": ["难过"]}
    assert read_caption_file(path, system=True) == {
        "tx_1": ["很高兴", "开心", ""],
        "tx.2": ["悲伤", "伤心", "难过: 极了"],
    }


def test_result_txt_with_windows_line_ends(tmp_path):
    path = tmp_path / "result.txt"
    path.write_bytes(RESULT.replace("\n", "\r\n").encode())
    assert read_caption_file(path, system=False) == {"tx_1": ["心里高兴"], "tx.2": ["难过"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x: is empty"),
        (" \n\n", "x: is empty"),
        ('a ["好"]\nb 高兴\n', "x:2: b: is not a list of captions"),
        ('a ["好"]\nb [1]\n', "x:2: b: is not a list of captions"),
        ('a ["好"]\nb "高兴"\n', "x:2: b: is not a list of captions"),
        ('a ["好"]\nb []\n', "x:2: b: has no caption"),
        ('a ["好"]\na ["好"]\n', "x:2: a: the id "),
        ('a ["好"]\n\nb ["好"]\n', "x:2: has no id"),
        ('{"a": 1}', "x: a: is not a list of captions"),
        ('{"a": {"b": "c"}}', "x: a: is not a list of captions"),
        ('{"a": "好", "a": "坏"}', "x: a: the id occurs twice"),
        ('{"b": "好", "a": "好", "c": "好", "a": "坏"}', "x: a: the id occurs twice"),
        ('{"a": "好"}\n{"a": "坏"}\n', "x:2: a: the id occurs twice"),
        ('{"a": "好"}\nrubbish\n', "x:2: is not a JSON object"),
        ('{"id": "a"}', "x:1: a: has none of the keys captions, caption, texts, text"),
        ('{"id": "a"}\n', "x:1: a: has none of the keys"),
        ('{"a b": "好"}', "x: a b: an id may not be empty or hold blanks"),
        ("[1]", "x: is not a JSON object"),
        ("[" * 100000, "x: is nested too deeply"),
        ("file: a.wav\norigin: 好\nresult: 坏\nresult: 坏\n", "x:4: a: has result: twice"),
        ("file: a.wav\norigin: 好\nnonsense\n", "x:3: a: is not a line of result.txt"),
        ("file: a.wav\norigin: 好\n", "x:1: a: has no caption"),
        ("file: a.wav\nresult: 好\n\nfile: a.wav\nresult: 好\n", "x:4: a: the id occurs twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(SecError) as caught:
        read_caption_file(write(tmp_path / "x", content), system=True)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message), caught.value
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "x").write_bytes(b'a ["x"]\nb ["\xff\xfe"]\n')
    with pytest.raises(SecError, match="x:2: is not UTF-8"):
        read_caption_file(tmp_path / "x", system=True)
    with pytest.raises(SecError, match="none: does not exist"):
        read_caption_file(tmp_path / "none", system=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"file_name": "a.wav", "text": "x y"}\n', "key text without the key id (but file_name)"),
        ('{"utt_id": "a", "caption": "x"}\n{"utt_id": "b", "caption": "y"}\n', "key caption without the key id"),
        ('[{"key": "a", "captions": ["x"]}]', "key captions without the key id"),
        ('a [["x y"], ["z"]]\n', "is not a list of captions"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", "git lfs pull"),
        ("<!DOCTYPE html><html>\n", "web page"),
    ],
)
def test_what_is_no_caption_is_never_scored_as_one(tmp_path, content, said):
    for system in (True, False):
        with pytest.raises(SecError) as err:
            read_caption_file(write(tmp_path / "x", content), system)
        assert said in str(err.value)


def test_result_txt_with_windows_paths(tmp_path):
    content = "file: C:\\wav\\tx.1.wav\norigin: a\nresult: b\n"
    assert read_caption_file(write(tmp_path / "x", content), True) == {"tx.1": ["b"]}


@pytest.mark.parametrize("content", ["{}", "[]", " \n", "{}\n{}\n"])
def test_kind_12_a_file_without_captions_is_refused(tmp_path, content):
    (tmp_path / "none.json").write_text(content)
    with pytest.raises(SecError, match="none.json: (holds no captions|is empty)"):
        read_caption_file(tmp_path / "none.json", system=True)


def test_the_clues_of_a_decoding_come_from_its_header(tmp_path):
    captions = tmp_path / "captions"
    assert clues_of_decoding(captions) is None
    for content, clues in [
        ({"header": {"clues": "oracle"}, "id": "u"}, "oracle"),
        ({"header": {"clues": None}}, None),
        ({"header": {}}, None),
        ([], None),
    ]:
        (tmp_path / "candidates.jsonl").write_text(json.dumps(content) + "\n{}\n")
        assert clues_of_decoding(captions) == clues
    (tmp_path / "candidates.jsonl").write_bytes(b"\xff\n")
    assert clues_of_decoding(captions) is None

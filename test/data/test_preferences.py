"""Preference pairs: the format, and each fault in one line with its place."""

import json
from dataclasses import replace

import pytest

from espnet2_secap.data.preferences import FIELDS, Expected, Pair, alike, read_pairs, scan_pairs, write_pairs
from espnet2_secap.errors import SecError

PAIR = Pair("u1", "描述情感。", "语速较快，情绪愤怒", "语速较快，情绪悲伤", "factuality", "rule", 1.0)


def row(**changes) -> str:
    values = {name: getattr(PAIR, name) for name in FIELDS} | changes
    return json.dumps(values, ensure_ascii=False)


def write(path, *lines: str | bytes):
    data = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(b"\n".join(data) + b"\n")
    return path


def test_a_file_is_read_as_it_was_written(tmp_path):
    other = Pair("u2", "Describe.", "calm, slow", 'He said "no".\u2028Sad', "quality", "file", 0.1234567)
    assert write_pairs(tmp_path / "pairs", [PAIR, other]) == 2
    assert read_pairs(tmp_path / "pairs") == [PAIR, replace(other, margin=0.123457)]
    first = (tmp_path / "pairs").read_text().splitlines()[0]
    assert list(json.loads(first)) == ["id", "prompt", "chosen", "rejected", "type", "source", "margin"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": ""}, "no id: an id may not be empty"),
        ({"id": "a b"}, "a b: an id may not be empty or hold blanks"),
        ({"chosen": " \u3000"}, "u1: chosen is empty; add its words"),
        ({"rejected": ""}, "u1: rejected is empty"),
        ({"prompt": ""}, "u1: prompt is empty"),
        ({"rejected": "语速较快 情绪愤怒。"}, "u1: chosen and rejected are the same but for case"),
        ({"chosen": "x\ud800"}, "u1: chosen has half a surrogate pair"),
        ({"type": "bad"}, "u1: type 'bad': must be one of factuality, faithfulness, quality"),
        ({"source": "human"}, "u1: source 'human': must be one of sampled, rule, file"),
        ({"margin": -0.5}, "u1: margin -0.5: is below 0; swap chosen and rejected"),
        ({"margin": "1"}, "u1: margin '1': must be a number"),
        ({"margin": True}, "u1: margin True: must be a number"),
        ({"margin": float("nan")}, "u1: margin nan: must be a number"),
        ({"margin": 10**400}, "is too large"),
        ({"chosen": ["语速"]}, "u1: chosen ['语速']: must be text"),
        ({"note": "x"}, "u1: unknown field note; known: id, prompt"),
        ({"id": 7}, "id 7: must be text"),
    ],
)
def test_a_bad_field_is_named(tmp_path, changes, fault):
    line = json.dumps({name: getattr(PAIR, name) for name in FIELDS} | changes)
    path = write(tmp_path / "pairs", row(), line)
    pairs, problems = scan_pairs(path)
    assert pairs == [PAIR]
    assert len(problems) == 1 and problems[0].startswith(f"{path}:2: ") and fault in problems[0], problems


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("u1 语速较快", "is not JSON; write one object a line, with id, prompt"),
        ("[1]", "is not a JSON object"),
        ('[["id", "u1"]]', "is not a JSON object"),
        ("[" * 5000, "is not JSON"),
        ('{"id": "u1", "chosen": "a", "rejected": "b"}', "u1: lacks prompt, type, source, margin; add it"),
        (row()[:-1] + ', "margin": 2}', "u1: a field occurs twice"),
        ("{" + ", ".join(reversed(row()[1:-1].split(", "))) + "}", "u1: the fields are in the order margin, source"),
        (row().encode("gb18030"), "is not UTF-8"),
    ],
)
def test_a_line_that_is_no_pair(tmp_path, line, fault):
    path = write(tmp_path / "pairs", line, row())
    pairs, problems = scan_pairs(path)
    assert pairs == [PAIR] and len(problems) == 1 and problems[0].startswith(f"{path}:1: {fault}"), problems
    with pytest.raises(SecError, match="pairs:1: "):
        read_pairs(path)


def test_whole_files(tmp_path):
    path = tmp_path / "pairs"
    assert "does not exist" in scan_pairs(path)[1][0]
    assert "is empty" in scan_pairs(write(path, "", " "))[1][0]
    path.write_bytes((row() + "\n").encode("utf-16"))
    assert scan_pairs(path) == (
        [],
        [f"{path}: is UTF-16 or UTF-32, must be UTF-8; convert it: iconv -f UTF-16 -t UTF-8"],
    )
    path.write_bytes(b"\xef\xbb\xbf" + row().encode() + b"\r\n\r\n")
    assert scan_pairs(path) == ([PAIR], [])


def test_what_the_pairs_must_fit(tmp_path):
    english = row(id="u2", chosen="angry", rejected="sad")
    unfaithful = row(id="u3", rejected="I am a model", type="faithfulness")
    path = write(tmp_path / "pairs", row(), row(id="t1"), row(id="u9"), english, unfaithful)
    expected = Expected({"u1", "u2", "u3", "t1"}, "data/train", {"t1": "data/test"}, "zh")
    pairs, problems = scan_pairs(path, expected)
    assert [pair.id for pair in pairs] == ["u1", "u3"]
    assert [line.split(": ", 1)[1] for line in problems] == [
        "t1: is an utterance of data/test, which may not be trained on; remove its pairs",
        "u9: is not in data/train; remove the pair, or give the folder that has the utterance",
        "u2: chosen (angry) is not in the script of --lang zh; remove it, or give its language",
    ]
    with pytest.raises(SecError, match=r"pairs:2: t1: .* \(2 more such lines: sec_pairs check\)"):
        read_pairs(path, expected)


def test_a_pair_twice_and_the_other_way_round(tmp_path):
    again = row(chosen="语速较快,情绪愤怒", margin=2)
    swapped = row(chosen=PAIR.rejected, rejected=PAIR.chosen)
    path = write(tmp_path / "pairs", row(), again, swapped, row(id="u2", chosen=PAIR.rejected, rejected=PAIR.chosen))
    pairs, problems = scan_pairs(path)
    assert [pair.id for pair in pairs] == ["u1", "u2"]
    assert problems == [
        f"{path}:2: u1: is the pair of line 1 again; remove one of the two",
        f"{path}:3: u1: prefers what line 1 rejects; remove one of the two",
    ]


def test_alike():
    assert alike("Angry, fast", "ＡＮＧＲＹ fast!") and not alike("angry", "sad")
    assert not alike("!", "?") and alike(" !", "!")

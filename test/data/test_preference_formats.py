"""Layouts of other tools: rows as their documentation shows them, round trips, and what is refused."""

import csv
import json

import pytest

from espnet2_secap.data.preference_formats import FORMATS, LAYOUTS, export_pairs, import_pairs
from espnet2_secap.data.preferences import Expected, Pair
from espnet2_secap.errors import SecError

PAIRS = [
    Pair("u1", "描述情感。", "语速较快，情绪愤怒", "语速较快，情绪悲伤", "factuality", "file", 1.25),
    Pair("u2", "Describe it.", 'He is "calm",\nslow', "He, sad", "faithfulness", "file", 0.0),
    Pair("u2", "Describe it.", "calm", "angry", "quality", "file", 0.5),
]
USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "p"), ("assistant", "c"), ("assistant", "r"))
)
ANGRY = {"from": "gpt", "value": "c"}
ROWS = {  # as the tools' pages show them
    "trl, text": ("trl", {"id": "u1", "prompt": "p", "chosen": "c", "rejected": "r"}),
    "trl, text without a prompt": ("trl", {"id": "u1", "chosen": "c", "rejected": "r"}),
    "trl, conversation": ("trl", {"id": "u1", "prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}),
    "trl, implicit prompt": ("trl", {"id": "u1", "chosen": [USER, GOOD], "rejected": [USER, BAD]}),
    "trl, parts": (
        "trl",
        {
            "audio": {"path": "wav/u1.flac"},
            "prompt": [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "p"}]}],
            "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "c"}]}],
            "rejected": [BAD],
        },
    ),
    "llama_factory, alpaca": (
        "llama_factory",
        {"instruction": "<audio>p", "input": "", "chosen": "c", "rejected": "r", "audios": ["wav/u1.wav"]},
    ),
    "llama_factory, sharegpt": (
        "llama_factory",
        {
            "conversations": [{"from": "human", "value": "<audio>p"}],
            "chosen": ANGRY,
            "rejected": {"from": "gpt", "value": "r"},
            "audios": ["C:\\wav\\u1.wav"],
        },
    ),
    "ms_swift, response": (
        "ms_swift",
        {"messages": [{"role": "system", "content": "s"}, USER, GOOD], "rejected_response": "r", "audios": ["u1.wav"]},
    ),
    "ms_swift, messages": (
        "ms_swift",
        {"messages": [USER, GOOD], "rejected_messages": [USER, BAD], "audios": ["a/u1.mp3"], "margin": 0.0},
    ),
}


def write(path, *rows, as_list=False):
    text = json.dumps(rows) if as_list else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_each_tool(tmp_path, name, as_list):
    format, row = ROWS[name]
    found = import_pairs(write(tmp_path / "file", row, as_list=as_list), prompt="p", type="factuality")
    assert found.problems == [] and found.format == format
    assert found.pairs == [Pair("u1", "p", "c", "r", "factuality", "file", 0.0)]


@pytest.mark.parametrize("audio", [None, {"u1": "/wav/u1.wav", "u2": "/wav/u2.wav"}])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip(tmp_path, layout, audio):
    path = tmp_path / "file"
    assert export_pairs(path, PAIRS, layout, audio) == 3
    found = import_pairs(path, prompt="P")
    assert found.problems == [] and layout.startswith(found.format) and found.ties == 0
    if layout == "emoprefer":  # which has neither prompt, type nor margin
        assert [(one.id, one.chosen, one.rejected) for one in found.pairs] == [
            (one.id, one.chosen, one.rejected) for one in PAIRS
        ]
        assert {(one.prompt, one.type, one.margin) for one in found.pairs} == {("P", "quality", 0.0)}
    else:
        assert found.pairs == PAIRS
        assert ("/wav/u2.wav" in path.read_text()) == (audio is not None)


def test_the_files_of_each_layout(tmp_path):
    path = tmp_path / "file"
    export_pairs(path, PAIRS[:1], "llama_factory_sharegpt", {"u1": "/wav/u1.wav"})
    assert json.loads(path.read_text()) == [
        {
            "id": "u1",
            "conversations": [{"from": "human", "value": "<audio>描述情感。"}],
            "chosen": {"from": "gpt", "value": PAIRS[0].chosen},
            "rejected": {"from": "gpt", "value": PAIRS[0].rejected},
            "audios": ["/wav/u1.wav"],
            "type": "factuality",
            "margin": 1.25,
        }
    ]
    export_pairs(path, PAIRS, "ms_swift")
    first = json.loads(path.read_text().splitlines()[0])
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"]
    assert first["rejected_response"] == PAIRS[0].rejected and "audios" not in first


def test_emoprefer_has_no_preferred_place(tmp_path):
    pairs = [Pair(f"u{at}", "p", f"good{at}", f"bad{at}", "quality", "file", 0.0) for at in range(200)]
    export_pairs(tmp_path / "file", pairs, "emoprefer")
    rows = list(csv.DictReader(open(tmp_path / "file")))
    assert 60 < sum(row["preference"] == "a1" for row in rows) < 140
    assert all(row[row["preference"]].startswith("good") for row in rows)


def test_ties_are_counted(tmp_path):
    (tmp_path / "file").write_text("name,a1,a2,preference\nu1,x,y,a2\nu2,x,y,same\nu3,x,y,\n")
    found = import_pairs(tmp_path / "file", prompt="p")
    assert [(one.chosen, one.rejected) for one in found.pairs] == [("y", "x")] and found.ties == 2
    (tmp_path / "file").write_text("name,a1,a2,preference\nu2,x,y,same\n")
    with pytest.raises(SecError, match="all its 1 rows are ties"):
        import_pairs(tmp_path / "file", prompt="p")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("u1 x\n", ":1: is neither JSON nor CSV with the columns name, a1, a2, preference in this order, but u1 x"),
        ("name,a2,a1,preference\nu1,x,y,a1\n", "in this order, but name, a2, a1, preference"),
        ('{"text": "x"}\n', "is none of trl, llama_factory, ms_swift, emoprefer (fields: text)"),
        ("[1, 2]", "is none of trl"),
        ('[{"id": ', "is not JSON; write a list of objects"),
        ("[" * 5000, "is not JSON"),
    ],
)
def test_a_file_of_no_layout(tmp_path, text, fault):
    (tmp_path / "file").write_text(text)
    with pytest.raises(SecError) as err:
        import_pairs(tmp_path / "file")
    assert fault in str(err.value) and str(err.value).startswith(f"{tmp_path}/file") and "\n" not in str(err.value)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "has no id (one of id, utt_id"),
        ({"id": [1], "prompt": "p", "chosen": "c", "rejected": "r"}, "has no text in the field id"),
        ({"id": "u1", "prompt": "p", "chosen": "c"}, "lacks rejected (fields: id, prompt, chosen); add it"),
        ({"id": "u1", "prompt": "p", "chosen": "c", "rejected": 5}, "rejected 5: must be text"),
        ({"id": "u1", "prompt": "p", "chosen": "c", "rejected": ""}, "u1: rejected is empty"),
        ({"id": "u1", "prompt": "p", "chosen": "C!", "rejected": "c"}, "u1: chosen and rejected are the same"),
        ({"id": "t1", "prompt": "p", "chosen": "c", "rejected": "r"}, "t1: is an utterance of test"),
        (
            {"id": "u1", "prompt": "p", "chosen": "好", "rejected": "r"},
            "u1: chosen (好) is not in the script of --lang en",
        ),
        ({"id": "u0", "prompt": "p", "chosen": "r", "rejected": "c"}, "u0: has the captions of row 1; remove one"),
        ({"id": "u1", "prompt": [USER, GOOD], "chosen": [USER], "rejected": [BAD]}, "chosen: its last turn is not an"),
        ("x", "is not a JSON object"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, row, fault):
    good = {"id": "u0", "prompt": "p", "chosen": "c", "rejected": "r"}
    expected = Expected(forbidden={"t1": "test"}, lang="en")
    for as_list, where in ((False, "file:2: "), (True, "file:row 2: ")):
        path = write(tmp_path / "file", good, row, as_list=as_list)
        found = import_pairs(path, expected=expected)
        assert [pair.id for pair in found.pairs] == ["u0"]
        assert len(found.problems) == 1 and f"{where}{fault}" in found.problems[0], found.problems


def test_a_line_that_is_no_json_and_a_row_of_csv_that_is_cut(tmp_path):
    path = write(tmp_path / "file", {"id": "u1", "prompt": "p", "chosen": "c", "rejected": "r"})
    path.write_text(path.read_text() + '{"id": "u2", \n')
    assert import_pairs(path).problems == [f"{path}:2: is not JSON"]
    path.write_text("name,a1,a2,preference\nu1,x,y\nu2,x,y,a3\nu3,x,y,a1\n")
    first, second = import_pairs(path, prompt="p").problems
    assert first == f"{path}:2: has not the four fields name, a1, a2, preference; quote texts that have a comma"
    assert second == f"{path}:3: u2: preference 'a3': must be a1 or a2, or same for a tie"


def test_the_id_by_a_field(tmp_path):
    path = write(tmp_path / "file", {"key": "k1", "clip": 7, "chosen": "c", "rejected": "r"})
    assert [one.id for one in import_pairs(path, prompt="p").pairs] == ["k1"]
    assert [one.id for one in import_pairs(path, prompt="p", id_field="clip").pairs] == ["7"]
    assert "has no text in the field none, the id" in import_pairs(path, prompt="p", id_field="none").problems[0]


def test_a_recording_that_is_missing(tmp_path):
    with pytest.raises(SecError, match="u2: has no recording in the wav.scp of --audio_dir"):
        export_pairs(tmp_path / "file", PAIRS, "trl", {"u1": "/wav/u1.wav"})
    assert not (tmp_path / "file").exists()


def test_every_format_has_a_layout():
    assert all(any(layout.startswith(one) for layout in LAYOUTS) for one in FORMATS)

import json

import pytest

from espnet2_secap.bin import sec_clues
from espnet2_secap.text.clues import read_clues


def write(path, captions):
    lines = [f"{utt} {json.dumps(own, ensure_ascii=False)}\n" for utt, own in captions.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train", {"a": ["愤怒，语速快", "生气"], "b": ["有人说话"]})


def test_clues_are_shown_and_written(train, tmp_path, capsys):
    more = write(tmp_path / "more", {"x": ["悲伤"]})
    sec_clues.main(["--captions", train, more, "--statistics", str(tmp_path / "s.json"), "--show", "1"])
    out = capsys.readouterr().out
    assert "a 愤怒，语速快\n  -> 情感线索：愤怒、语速快。\n" in out and "b 有人说话" not in out and "x 悲伤" in out
    numbers = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert numbers["grammar"] == numbers["words"] == "zh" and list(numbers["corpora"]) == [train, more]
    assert numbers["corpora"][train]["without"] == pytest.approx(1 / 3)
    for options, clues in ([], ["愤怒", "语速快", "生气"]), (["--which", "first"], ["愤怒", "语速快"]):
        sec_clues.main(["--captions", train, "--output", str(tmp_path / "clues"), *options])
        assert read_clues(tmp_path / "clues") == {"a": clues, "b": []}


def test_a_grammar_of_ones_own_and_labels(train, tmp_path, capsys):
    (tmp_path / "g.json").write_text('{"extends": "zh", "also": ["有人"]}', encoding="utf-8")
    sec_clues.main(["--captions", train, "--grammar", str(tmp_path / "g.json"), "--output", str(tmp_path / "clues")])
    assert read_clues(tmp_path / "clues")["b"] == ["有人"]
    (tmp_path / "utt2emo").write_text("u1 angry\nu2 ???\n")
    sec_clues.main(["--labels", str(tmp_path), "--grammar", "en", "--output", str(tmp_path / "clues")])
    assert read_clues(tmp_path / "clues") == {"u1": ["angry"], "u2": []}
    out = capsys.readouterr().out
    assert "note: " in out and "utt2emo: 1 of 2 labels name no category of emotion (???)" in out
    assert "u1 (labels)\n  -> Feeling angry." in out and "u2 (labels)\n  -> (none)" in out


def test_labels_in_the_words_of_a_training_set(tmp_path):
    (tmp_path / "utt2emo").write_text("u1 angry\nu2 calm\n")
    (tmp_path / "captions").write_text('a ["语气生气", "很愤怒"]\nb ["生气，语速快"]\n', encoding="utf-8")
    clues = tmp_path / "clues"
    sec_clues.main(["--labels", str(tmp_path), "--like", str(tmp_path / "captions"), "--output", str(clues)])
    assert read_clues(clues) == {"u1": ["生气"], "u2": ["平静"]}


def test_clues_of_a_decoding(tmp_path, capsys):
    rows = [
        {"id": "u1", "prompt": "描述", "candidates": [{"text": "悲伤"}], "clues": ["愤怒", "语速快"]},
        {"id": "u2", "prompt": "描述", "candidates": [{"text": "悲伤"}], "clues": []},
    ]
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for decoded in (tmp_path, path):
        sec_clues.main(["--decoded", str(decoded), "--output", str(tmp_path / "clues")])
        assert read_clues(tmp_path / "clues") == {"u1": ["愤怒", "语速快"], "u2": []}
        out = capsys.readouterr().out
        assert "u1 (decoding)\n  -> 情感线索：愤怒、语速快。\n" in out and "u2 (decoding)\n  -> (none)" in out
    path.write_text(json.dumps(rows[0] | {"clues": None}), encoding="utf-8")
    with pytest.raises(SystemExit):
        sec_clues.main(["--decoded", str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: u1: was decoded without clues; decode again with --clues" in line


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--grammar", "fr"], "clue grammar fr: no such file or language"),
        (["--words", "nowhere.json"], "nowhere.json: no such words file"),
        (["--output", "o", "--captions", "a", "b"], "--output o: takes the clues of one captions file, not of 2"),
        (["--captions", "nowhere"], "nowhere: does not exist"),
        (["--labels", "d"], "not allowed with argument --captions"),
        (["--like", "f"], "--like f: is for --labels; leave it out"),
        (["--top", "-1"], "--top -1: must be at least 0"),
    ],
)
def test_what_is_wrong_is_one_line(argv, message, train, capsys):
    with pytest.raises(SystemExit):
        sec_clues.main(["--captions", train, *argv])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.goals import goal_table, read_goals


def check(exp, goals):
    file = exp.parent / "goals.json"
    file.write_text(json.dumps(goals))
    rows = goal_table(read_goals(file), find_scores(exp)).rows
    return [[row[0].text, row[3].text, row[4].text, row[5].text] for row in rows]


@pytest.mark.parametrize(
    "goal, wanted, verdict",
    [
        ([">=", 50], ">= 50", "met"),
        ([">", 50], "> 50", "missed"),
        (["<=", 35.5], "<= 35.5", "missed"),
        (["<", "frequent_caption"], "< frequent_caption = 5.00", "missed"),
        ([">=", "2.5 * random_caption"], ">= 2.5 * random_caption = 25.00", "met"),
        ([">=", "6 * random_caption"], ">= 6 * random_caption = 60.00", "missed"),
        ([">=", "nobody/decode"], ">= nobody/decode", "not measured"),
        ([">=", "nearest_caption"], ">= nearest_caption", "not measured"),
        ([">=", "shuffled_audio + 30"], ">= shuffled_audio + 30 = 50.00", "met"),
        ([">", "shuffled_audio  +  30"], "> shuffled_audio  +  30 = 50.00", "missed"),
        (["<", "shuffled_audio - 0.5"], "< shuffled_audio - 0.5 = 19.50", "missed"),
        ([">", "2 * sec_x/decode_y_shuffled_audio + 9.5"], "> 2 * sec_x/decode_y_shuffled_audio + 9.5 = 49.50", "met"),
    ],
)
def test_goals(exp, goal, wanted, verdict):
    goals = {"sec_x/decode_y": {"test": {"cider": goal}}}
    assert check(exp, goals) == [["sec_x/decode_y", "50.00", wanted, verdict]]


def test_patterns_stand_for_listening_systems_first(exp):
    goals = {"*": {"test": {"cider": [">", 1]}}, "*_shuffled_audio": {"test": {"emotion_recall": ["<=", 35]}}}
    assert [(row[0], row[3]) for row in check(exp, goals)] == [
        ("sec_x/decode_y", "met"),
        ("sec_x/decode_y_shuffled_audio", "met"),
    ]


@pytest.mark.parametrize(
    "system, dset, metric",
    [("other", "test", "cider"), ("sec_*", "eval", "cider"), ("sec_*", "test", "spice")],
)
def test_what_was_not_measured_is_not_met(exp, system, dset, metric):
    (row,) = check(exp, {system: {dset: {metric: ["<", 1000]}}})
    assert row[1] == "-" and row[3] == "not measured"


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 99999, '{"a": 1}', '{"a": {"b": {"c": 5}}}', '{"a": {"b": {"c": ["=", 5]}}}',
                '{"a": {"b": {"c": [">", "x * y"]}}}', '{"a": {"b": {"c": [">", true]}}}', '{"a": {"b": {"c": []}}}',
                '{"a": {"b": {"c": [">", "85"]}}}', '{"a": {"b": {"c": [">", "x + y"]}}}', '{"a": {"b": {"c": [[]]}}}',
                '{"a": {"b": {"c": [">", "x", "intervals"]}}}', '{"a": {"b": {"c": [[">", 1], [">"]]}}}',
                '{"a": {"b": {"c": [">", "x", "interval", 1]}}}', '{"a": {"b": {"c": [">", NaN]}}}']
)  # fmt: skip
def test_bad_goals_show_the_form(tmp_path, content):
    file = tmp_path / "goals.json"
    file.write_text(content)
    with pytest.raises(SecError, match="is not a goals file .*expected .*interval"):
        read_goals(file)


def test_missing_goals_file(tmp_path):
    with pytest.raises(SecError, match="no such goals file"):
        read_goals(tmp_path / "goals.json")


def test_several_goals_for_one_metric_and_patterns_of_sets(exp):
    rows = check(exp, {"sec_*": {"*": {"cider": [[">", 45], ["<", 45]], "emotion_recall": [">", 1]}}})
    assert [(row[1], row[2], row[3]) for row in rows] == [
        ("40.00", "> 45", "missed"), ("40.00", "< 45", "met"), ("-", "> 1", "not measured"),  # dev
        ("50.00", "> 45", "met"), ("50.00", "< 45", "missed"), ("90.00", "> 1", "met"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "metric, target, message",
    [
        ("emotion_recal", 5, "no metric 'emotion_recal'; choose from: bleu_1"),
        ("cider", "shufled_audio + 12", "there is no row or system 'shufled_audio' .did you mean shuffled_audio"),
        ("cider", "shuffled_audio+12", "there is no row or system 'shuffled_audio.12'.*blanks around"),
        (
            "cider",
            "nobody",
            "there is no row or system 'nobody'; give shuffled_audio, nearest_caption",
        ),
    ],
)
def test_what_can_never_be_measured_is_an_error(exp, metric, target, message):
    with pytest.raises(SecError, match=f"goals.json: sec_.: test: {metric}: {message}") as err:
        check(exp, {"sec_*": {"test": {metric: [">", target]}}})
    assert "\n" not in str(err.value)


REFERENCES = {"a": ["很高兴"], "b": ["悲伤难过"], "c": ["愤怒"], "d": ["平静"]}
RIGHT = dict(REFERENCES)
HALF = {"a": ["很高兴"], "b": ["悲伤"], "c": ["平静"], "d": ["愤怒"]}
WRONG = {"a": ["悲伤"], "b": ["高兴"], "c": ["平静"], "d": ["愤怒"]}


@pytest.fixture
def heard(scored, tmp_path):
    """Emotion recall by utterance: 100 for all; 100, 100, 0, 0 for a second system and a baseline; 0 for shuffled
    audio. The second system's shuffled audio is as good as itself."""
    for system, captions in (("f/x", RIGHT), ("f/x_shuffled_audio", WRONG), ("f/y", HALF), ("f/y_shuffled_audio", HALF),
                             ("f/frequent_caption", HALF), ("frequent_caption", WRONG)):  # fmt: skip
        scored(system, captions, REFERENCES, ["emotion_recall", "rouge_l", "distinct_1"])
    return tmp_path / "exp"


@pytest.mark.parametrize(
    "system, goal, reached, verdict",
    [
        ("f/x", [">", "shuffled_audio", "interval"], "+100.00 (+100.00 to +100.00)", "met"),
        ("f/x", [">", "shuffled_audio + 99", "interval"], "+100.00 (+100.00 to +100.00)", "met"),
        ("f/x", [">", "shuffled_audio + 100", "interval"], "+100.00 (+100.00 to +100.00)", "missed"),
        ("f/y", [">", "shuffled_audio", "interval"], "+0.00 (+0.00 to +0.00)", "missed"),
        ("f/y", ["<=", "shuffled_audio", "interval"], "+0.00 (+0.00 to +0.00)", "met"),
        # half the utterances: 0 to 100 of resamples of four; so the frequent caption, which is that of the folder
        ("f/x", [">", "frequent_caption", "interval"], "+50.00 (+0.00 to +100.00)", "missed"),
        ("f/x", [">", "frequent_caption"], "100.00", "met"),
        ("f/x", [">", "0.5 * frequent_caption", "interval"], "+75.00 (+50.00 to +100.00)", "met"),
        ("f/y", [">", 1, "interval"], "50.00 (0.00 to 100.00)", "missed"),
        ("f/y", ["<", 101, "interval"], "50.00 (0.00 to 100.00)", "met"),
        ("f/x", [">", "nearest_caption", "interval"], "100.00", "not measured"),
    ],
)
def test_intervals(heard, system, goal, reached, verdict):
    ((_, shown, _, judged),) = check(heard, {system: {"test": {"emotion_recall": goal}}})
    assert (shown, judged) == (reached, verdict)


def test_what_cannot_be_resampled_is_not_met(heard):
    (row,) = check(heard, {"f/x": {"test": {"distinct_1": [">", "shuffled_audio", "interval"]}}})
    assert row[3] == "not measured: distinct_1 of f/x cannot be resampled"
    meta = heard / "f/x/test/score_meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"segment": "word"}))
    (row,) = check(heard, {"f/x": {"test": {"emotion_recall": [">", "shuffled_audio", "interval"]}}})
    assert row[3].startswith("not measured: on test f/x and f/x_shuffled_audio were scored with different segment")

import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import find_scores, results
from espnet2_secap.report.goals import goal_table, read_goals


def check(exp, goals):
    file = exp.parent / "goals.json"
    file.write_text(json.dumps(goals))
    rows = goal_table(read_goals(file), results(find_scores(exp))).rows
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
        ([">=", "nobody"], ">= nobody", "not measured"),
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
                '{"a": {"b": {"c": [">", "x * y"]}}}', '{"a": {"b": {"c": [">", true]}}}']
)  # fmt: skip
def test_bad_goals_show_the_form(tmp_path, content):
    file = tmp_path / "goals.json"
    file.write_text(content)
    with pytest.raises(SecError, match="is not a goals file .*expected {"):
        read_goals(file)


def test_missing_goals_file(tmp_path):
    with pytest.raises(SecError, match="no such goals file"):
        read_goals(tmp_path / "goals.json")

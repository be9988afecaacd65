import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.process.jobs import file_digest
from espnet2_secap.report.collect import find_probes, find_scores, is_sanity, read_examples, results, without_stale
from espnet2_secap.report.goals import goal_table, read_goals
from espnet2_secap.report.paper_tables import Row, Seeds, paper_table
from espnet2_secap.report.tables import example_table, score_table
from espnet2_secap.report.write import Report


def test_own_systems_come_first_then_those_that_do_not_listen(exp):
    found = [(score.system, score.dset) for score in find_scores(exp)]
    assert found == [
        ("sec_x/decode_y", "dev"),
        ("sec_x/decode_y", "test"),
        ("sec_x/decode_y_shuffled_audio", "test"),
        ("random_caption", "test"),
        ("frequent_caption", "test"),
    ]
    assert [is_sanity(system) for system, _ in found] == [False, False, True, True, True]


def test_results_have_mean_and_std(exp):
    table = results(find_scores(exp))
    assert table["sec_x/decode_y"] == {
        "dev": {"cider": {"mean": 40.0, "std": 0.0}},
        "test": {
            "cider": {"mean": 50.0, "std": 1.25},
            "bleu_1": {"mean": 30.0, "std": 0.5},
            "emotion_recall": {"mean": 90.0, "std": 0},
        },
    }
    assert table["frequent_caption"]["test"]["meteor"] == {"mean": None, "std": None}


def test_probes(exp):
    assert [(probe["system"], probe["emotion"]["n"]) for probe in find_probes(exp)] == [("sec_align", 40)]


def test_scores_of_other_captions_than_are_there_now_are_left_out_and_told(exp, tmp_path):
    folder = exp / "sec_x" / "decode_y" / "test"
    meta = json.loads((folder / "score_meta.json").read_text(encoding="utf-8"))
    meta["made_from"] = {"ref": file_digest(tmp_path / "ref"), "hyp": file_digest(folder / "captions")}
    (folder / "score_meta.json").write_text(json.dumps(meta), encoding="utf-8")
    assert without_stale(find_scores(exp)) == (find_scores(exp), [])
    (folder / "captions").write_text('u1 ["愤怒"]\nu2 ["x"]\nu3 [""]\n', encoding="utf-8")
    kept, (told,) = without_stale(find_scores(exp))
    assert len(kept) == 4 and all(score.folder != folder for score in kept)
    assert told.startswith(f"{folder}/score.json: is left out, since {folder}/captions has changed")
    (folder / "captions").unlink()
    assert without_stale(find_scores(exp))[1] == [], "nothing to compare with"
    (tmp_path / "ref").write_text('u1 ["其他"]\n', encoding="utf-8")
    assert str(tmp_path / "ref") in without_stale(find_scores(exp))[1][0]
    with pytest.raises(SecError, match="no other score is left"):
        without_stale([score for score in find_scores(exp) if score.folder == folder])


def test_a_probe_of_another_model_than_is_there_now_is_left_out_and_told(exp):
    path, model = exp / "sec_align" / "probe.json", exp / "sec_align" / "best.pth"
    model.write_bytes(b"one")
    content = json.loads(path.read_text()) | {"model": "best.pth", "made_from": {"model": file_digest(model)}}
    path.write_text(json.dumps(content))
    told = []
    assert len(find_probes(exp, told)) == 1 and not told
    model.write_bytes(b"two")
    assert find_probes(exp, told) == []
    (told,) = told
    assert "best.pth has changed since it was made" in told


def test_examples(exp):
    by_name = {(score.system, score.dset): score for score in find_scores(exp)}
    references, captions = read_examples(by_name["sec_x/decode_y", "test"])
    assert references["u1"] == ["很高兴", "开心"] and captions["u3"] == [""]
    assert read_examples(by_name["sec_x/decode_y", "dev"]) is None  # no meta
    assert read_examples(by_name["random_caption", "test"]) is None  # its captions are gone


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"bleu_1": 3}', "bleu_1: has no mean"),
        ("[" * 99999, "not JSON"),
        ('{"bleu_1": {"mean": NaN, "std": 0, "n": 1}}', "bleu_1: holds NaN or infinity"),
        ('{"bleu_1": {"mean": 1, "std": Infinity, "n": 1}}', "bleu_1: holds NaN or infinity"),
        *(
            (f'{{"bleu_1": {{"mean": 1, "n": 1, "{key}": {bad}}}}}', "bleu_1: mean, std and n must be numbers")
            for key in ("mean", "std", "n")
            for bad in ('"x"', "[1]", "true", "{}")
        ),
    ],
)
def test_bad_score_files_are_named(exp, content, message):
    file = exp / "random_caption" / "test" / "score.json"
    file.write_text(content)
    with pytest.raises(SecError, match=message) as caught:
        find_scores(exp)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("key", ["command", "segment", "note", "ref", "hyp", "models"])
def test_bad_facts_about_scores_are_named(exp, key):
    file = exp / "random_caption" / "test" / "score_meta.json"
    file.write_text(f'{{"{key}": 5}}')
    with pytest.raises(SecError, match=f"score_meta.json: {key}: must be of type"):
        find_scores(exp)


def test_nothing_to_report(tmp_path):
    with pytest.raises(SecError, match="run sec_score"):
        find_scores(tmp_path)
    with pytest.raises(SecError, match="no such folder"):
        find_scores(tmp_path / "nowhere")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "score.json").write_text("{}")
    with pytest.raises(SecError, match="expected .*<system>/<set>/score.json"):
        find_scores(tmp_path)


def test_baselines_and_companions_are_no_systems_of_their_own():
    for system in ("random_caption", "folds10/frequent_caption", "x/decode_shuffled_audio", "x/decode_nearest_caption"):
        assert is_sanity(system), system
    for system in ("x/decode", "random_caption/decode", "x_random_caption", "nearest_caption_x"):
        assert not is_sanity(system), system


def test_oracle_clues_are_named_in_every_table_and_never_the_best(with_clues):
    """A system that read clues of the references is an upper bound."""
    exp, scores = with_clues, [score for score in find_scores(with_clues) if score.dset == "test"]
    assert [score.system for score in scores if score.oracle] == ["sec_x/decode_oracle"]
    table, _ = score_table(scores)
    rows = {row[0].text: [cell.markdown() for cell in row] for row in table.rows}
    assert rows["sec_x/decode_oracle"][0] == "`sec_x/decode_oracle` (oracle clues)"
    assert not any("**" in cell for cell in rows["sec_x/decode_oracle"])
    assert "**100.00**" in rows["sec_x/decode_predicted"] and "(oracle" not in rows["sec_x/decode_predicted"][0]
    report = Report(scores, "sec_report")
    for text in (report.text(), report.markdown(), report.latex()):
        lines = [line for line in text.splitlines() if "decode_oracle" in line.replace("\\_", "_")]
        lines = [line for line in lines if not line.startswith("#")]  # commands
        assert lines and all("(oracle clues)" in line for line in lines)
    assert "decode_oracle (oracle clues)" in example_table(scores, 2).header[-2:][0]
    (exp.parent / "goals.json").write_text('{"sec_x/decode_oracle": {"test": {"cider": [">=", 90]}}}')
    goals = goal_table(read_goals(exp.parent / "goals.json"), scores)
    assert goals.rows[0][0].plain() == "sec_x/decode_oracle (oracle clues)"
    row = Row("sec_x/decode_oracle", ["clues"], {}, "")
    paper, _ = paper_table(["what"], ["cider"], [row], Seeds({row.system: {0: scores[0]}}), row.system, "cider")
    assert scores[0].oracle and paper.rows[0][0].plain() == "clues (oracle clues)"

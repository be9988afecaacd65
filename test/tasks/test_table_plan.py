"""The plan: what is shared, what is done, options and times."""

import re
import shlex
from pathlib import Path

import pytest
from tiny_tables import CONF, reader

from espnet2_secap.data.io import make_dir, write_json
from espnet2_secap.errors import SecError
from espnet2_secap.process.stages import append
from espnet2_secap.tasks.table_plan import RECORDS, Clock, Plan, gigaflops, stage_seconds
from espnet2_secap.tasks.tables import sec_options

SEEDED = {"align_args": "--seed 1", "caption_args": "--seed 1", "inference_args": "--seed 1"}


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return reader(tmp_path)


@pytest.fixture
def file(read):
    more = {"second": {"feats": "hubert", "align": "both"}}
    opts = {"local_data_opts": "--seed 5"}
    rows = [*CONF["tables"]["2"]["rows"], {"system": "second", "cells": ["x"]}]
    tables = {"2": {**CONF["tables"]["2"], "rows": rows}}
    return read(
        {
            **CONF,
            "systems": {**CONF["systems"], **more},
            "tables": tables,
            "seconds": {6: 10, 7: 2, 8: 1},
            "options": opts,
        }
    )


def test_a_first_stage_is_trained_once_per_seed(file):
    plan = Plan(file, ["2"], [0, 1])
    names = list(plan.experiments)
    assert names == [
        *("data", "feats_hubert", "align_both_seed0", "good_seed0", "second_seed0", "poor_seed0"),
        *("align_both_seed1", "good_seed1", "second_seed1", "poor_seed1"),
    ]
    assert plan.left_out == {"other": ["encoder:not_there"]}
    both, good, poor = (plan.experiments[name] for name in ("align_both_seed1", "good_seed1", "poor_seed1"))
    assert (both.stages, good.stages, poor.stages) == ((5, 5), (6, 8), (6, 8))
    assert good.after == ("align_both_seed1", "data") and poor.after == both.after == ("feats_hubert", "data")
    shared = "exp/align_both_seed1/sec_align_both_seed1"
    assert good.options["align_exp"] == both.options["align_exp"] == shared
    assert good.options.items() >= SEEDED.items() and poor.options["caption_args"] == "--max_epoch 1 --seed 1"
    assert poor.options["skip_align"] == "true" and "skip_align" not in good.options
    stats = {one.options["sec_stats_dir"] for one in plan.experiments.values() if one.name != "data"}
    assert stats == {"exp/feats_hubert/sec_stats_hubert"}
    folders = [one.options["expdir"] for one in plan.experiments.values()]
    assert len(set(folders)) == len(folders) and "parts" not in plan.experiments["data"].options


def test_options_of_the_user_come_last_but_for_those_of_the_steps(file):
    plan = Plan(file, ["2"], [0], options={"caption_args": "--max_epoch 2", "nj": "3"}, jobs=2)
    words = plan.experiments["poor_seed0"].command()
    assert words[:5] == ["./run.sh", "--stage", "6", "--stop_stage", "8"]
    given = dict(zip(words[5::2], words[6::2], strict=True))
    assert given["--caption_args"] == "--max_epoch 2 --max_epoch 1 --seed 0" and given["--nj"] == "3"


def test_parts_are_made_where_a_system_needs_them(file, monkeypatch):
    monkeypatch.setattr("espnet2_secap.tasks.tables.PARTS", (("encoder", "not_there", "x"),))
    plan = Plan(file, ["2"], [0], options={"local_data_opts": "--n_train 9"})
    assert plan.experiments["data"].options["local_data_opts"] == "--seed 5 --n_train 9 --mini_clap true"
    assert "local_data_opts" not in plan.experiments["feats_clap"].options and "other_seed0" in plan.experiments


def test_folds_share_their_folders(file):
    plan = Plan(file, ["2"], [0], folds=10, jobs=2)
    assert list(plan.experiments) == ["data", "feats_hubert", "good_seed0", "second_seed0", "poor_seed0"]
    good, second = plan.experiments["good_seed0"], plan.experiments["second_seed0"]
    assert good.stages == (4, 8) and good.options["folds"] == "10" and good.alone == second.alone == "folds/10/exp"
    # sec.sh puts what lies below --expdir into each fold's exp/: the same folder for both
    inside = {one.options["align_exp"].removeprefix(f"{one.options['expdir']}/") for one in (good, second)}
    assert inside == {"sec_align_both_seed0"}
    # and so the second does not wait for it: its stage 5 finds it there
    assert [plan.experiments[name].finds_align for name in ("good_seed0", "second_seed0", "poor_seed0")] == [
        False,
        True,
        False,
    ]
    clock = Clock(plan)
    clock.factor = 1.0
    stages = {4: 1, 5: 100, 6: 10, 7: 1, 8: 1}
    clock._guess = stages
    assert clock.seconds(good) - clock.seconds(second) == 10 * stages[5]
    assert plan.score_name("good", 0) == "sec_caption_good_seed0/decode_tables"
    seeded = Plan(file, ["2"], [0], folds=10, options={"fold_by": "speaker", "fold_seed": "3"})
    assert seeded.scores == "folds/10_speaker_seed3/exp"


def test_a_corpus_that_is_the_recipe_s_own_is_made_in_its_folder(read):
    plan = Plan(read({**CONF, "own_data": False}), ["2"], [0], back="../..")
    assert plan.experiments["data"].command()[:4] == ["env", "-C", "../..", "./run.sh"]
    assert not {"expdir", "lock", "local_data_opts"} & plan.experiments["data"].options.keys()
    assert plan.experiments["feats_hubert"].command()[0] == "./run.sh"


def finish(plan, name):
    one = plan.experiments[name]
    if one.system:
        score = f"{plan.scores}/{plan.score_name(one.system, one.seed)}/test/score.json"
        Path(score).parent.mkdir(parents=True, exist_ok=True)
        Path(score).write_text("{}")
    make_dir(RECORDS)
    write_json(f"{RECORDS}/{name}.json", {"made_from": plan.prints[name]})


def test_what_is_done_is_not_done_again_unless_its_options_change(file, tmp_path):
    plan = Plan(file, ["2"], [0])
    assert not any(map(plan.is_done, plan.experiments.values()))
    for name in plan.experiments:
        finish(plan, name)
    assert all(map(plan.is_done, Plan(file, ["2"], [0], options={"nj": "7"}, jobs=3).experiments.values()))
    other = Plan(file, ["2"], [0], options={"align_args": "--max_epoch 9"})
    state = {name: other.is_done(one) for name, one in other.experiments.items()}
    assert not state["align_both_seed0"] and not state["good_seed0"]  # made from another first stage
    for score in tmp_path.rglob("score.json"):
        score.unlink()
    assert plan.is_done(plan.experiments["align_both_seed0"]) and not plan.is_done(plan.experiments["good_seed0"])
    (tmp_path / RECORDS / "data.json").write_text("[]")
    with pytest.raises(SecError, match="is not what the plan has written; remove it"):
        plan.is_done(plan.experiments["data"])


def test_a_changed_configuration_is_run_again(file, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "caption.yaml").write_text("a: 1\n")
    options = {"inference_args": "--text_file dump/text"}
    plan = Plan(file, ["2"], [0], options=options)
    finish(plan, "good_seed0")
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "text").write_text("u made by an experiment\n")
    assert Plan(file, ["2"], [0], options=options).is_done(plan.experiments["good_seed0"])
    (tmp_path / "conf" / "caption.yaml").write_text("a: 2\n")
    assert not Plan(file, ["2"], [0], options=options).is_done(plan.experiments["good_seed0"])


def test_nothing_that_can_be_run(read):
    conf = {**CONF, "reference": "", "claims": [], "tables": {"1": {**CONF["tables"]["2"]}}}
    conf["tables"]["1"]["rows"] = [{"system": "other", "cells": ["x"]}]
    with pytest.raises(SecError, match="none of the systems of these tables can be run"):
        Plan(read(conf), ["1"], [0])


def test_times_are_guessed_and_then_measured(file, tmp_path, monkeypatch):
    plan = Plan(file, ["2"], [0])
    clock = Clock(plan)
    clock.factor = 2.0
    assert clock.seconds(plan.experiments["poor_seed0"]) == 26  # (10 + 2 + 1) * 2
    assert clock.seconds(plan.experiments["align_both_seed0"]) is None  # the file says nothing of stage 5
    times = iter([0.0, 5.0, 105.0, 112.0])
    monkeypatch.setattr("espnet2_secap.process.stages.time.time", lambda: next(times))
    stages = plan.experiments["good_seed0"].folder / ".stages.tsv"
    stages.parent.mkdir(parents=True)
    for event, value in (("begin", ("6", "x")), ("begin", ("7", "y")), ("begin", ("8", "z")), ("end", ("0",))):
        append(stages, "run", event, *value)
    assert stage_seconds([stages, tmp_path / "none"]) == {6: 5.0, 7: 100.0, 8: 7.0}
    assert Clock(plan).seconds(plan.experiments["poor_seed0"]) == 112
    assert Clock(plan, [stages]).measured[7] == 100


def test_the_short_timing():
    assert gigaflops(0.02) > 0.1


@pytest.mark.parametrize("folds", [0, 10])
def test_all_wait_for_a_corpus_that_is_made_again(file, folds):
    """A mini part may be another one although the features, which lie between, are done."""
    plan = Plan(file, ["2"], [0], folds=folds)
    assert all("data" in one.after for one in plan.experiments.values() if one.name != "data")


@pytest.fixture
def preferred(read, tmp_path):
    """A system that preference optimisation makes of another one."""
    (tmp_path / "aligncap.sh").write_text("prefer_args=\nbest_of=8\nhelp_message=\n")
    more = {"po": {"title": "with PO", "start": "good", "options": {"prefer_args": "--max_epoch 2"}}}
    rows = [{"system": "po", "cells": ["x"]}]
    tables = {"2": {**CONF["tables"]["2"], "rows": [*CONF["tables"]["2"]["rows"], *rows]}}
    return read({**CONF, "systems": {**CONF["systems"], **more}, "tables": tables})


def test_preference_optimisation_starts_from_another_systems_model(preferred):
    plan = Plan(preferred, ["2"], [0, 1])
    one, start = plan.experiments["po_seed1"], plan.experiments["good_seed1"]
    assert one.after == ("good_seed1", "data") and one.stages == (9, 12) and one.program == "./run_aligncap.sh"
    assert one.options["distill_exp"] == start.options["sec_exp"] and one.options["seed"] == "1"
    assert one.options["prefer_exp"] == "exp/po_seed1/sec_caption_po_seed1" and one.options["controls"] == ""
    assert plan.score_name("po", 1) == "po_seed1/sec_caption_po_seed1/decode_tables"
    command = one.command()
    assert command[:5] == ["./run_aligncap.sh", "--stage", "9", "--stop_stage", "12"]
    given = command[command.index("--options") + 1]
    assert "--inference_tag tables" in given and "--lock exp/po_seed1/.lock" in given
    assert not {"--sec_exp", "--expdir", "--caption_args", "--align_exp"} & set(given.split())


def test_what_run_aligncap_has_of_its_own_is_not_among_its_options(preferred, repo):
    text = (repo / "egs2/TEMPLATE/sec1/aligncap.sh").read_text()
    own = set(re.search(r'\nown="([^"]*)"', text)[1].split())
    assert own < sec_options(repo / "egs2/TEMPLATE/sec1/sec.sh")
    further = {"feats_tag": "x", "test_sets": "a b", "inference_model": "latest.pth", "inference_nj": "2"}
    one = Plan(preferred, ["2"], [0], options=further).experiments["po_seed0"]
    assert [one.options[name] for name in ("feats_tag", "test_sets", "model")] == ["x", "a b", "latest.pth"]
    words = shlex.split(one.options["options"])
    assert "--inference_nj" in words and not {f"--{name}" for name in own} & set(words)


def test_what_a_training_starts_from_is_part_of_what_it_is_made_from(preferred, read):
    plan = Plan(preferred, ["2"], [0])
    before = plan.prints["po_seed0"]
    again = Plan(preferred, ["2"], [0], options={"caption_args": "--max_epoch 9"})
    assert again.prints["good_seed0"] != plan.prints["good_seed0"] and again.prints["po_seed0"] != before


def test_preference_optimisation_in_folds_is_within_each_fold(preferred):
    plan = Plan(preferred, ["2"], [0], folds=3, jobs=2)
    one, start = plan.experiments["po_seed0"], plan.experiments["good_seed0"]
    names = ("folds", "fold_jobs", "distill_exp", "prefer_exp", "align_exp")
    assert [one.options[name] for name in names] == [
        "3",
        "2",
        "exp/sec_caption_good_seed0",
        "exp/sec_caption_po_seed0",
        "exp/sec_align_both_seed0",
    ]
    given = shlex.split(one.options["options"])
    assert given[given.index("--sec_stats_dir") + 1] == "exp/sec_stats_hubert"
    assert not {"--folds", "--fold_jobs", "--lock"} & set(given)
    assert one.alone == start.alone == "folds/3/exp" and one.folds == 3
    assert plan.score_name("po", 0) == "sec_caption_po_seed0/decode_tables"

import os

from espnet2_secap.tasks.check import Findings, check_labels, check_recipe, chosen_stages
from espnet2_secap.tasks.recipe import Recipe

NOTHING = {"skip_data_prep": "false", "skip_train": "false", "skip_align": "false", "skip_eval": "false",
           "feats_type": "extracted", "pretrained_model": ""}  # fmt: skip


def stages(first, last, **options):
    found = Findings()
    return chosen_stages(Recipe({**NOTHING, "stage": first, "stop_stage": last, **options}), found), found


def test_the_stages_that_run():
    assert stages("2", "5")[0] == [2, 3, 4, 5] and stages("1", "8", skip_train="true")[0] == [1, 2, 3, 4, 7, 8]
    chosen, found = stages("7", "10000")  # ESPnet's way to say: to the end
    assert chosen == [7, 8] and found.problems == [] and found.notes == ["--stop_stage 10000: the last stage is 8"]
    chosen, found = stages("x", "8")
    assert chosen == list(range(1, 9)) and len(found.problems) == 1, "the other options are checked for all stages"


def test_labels_of_the_validation_set_that_training_lacks(tmp_path):
    (tmp_path / "train").write_text("a angry\nb Calm\n")
    (tmp_path / "valid").write_text("c calm\nd bored\ne bored\n")
    files = [str(tmp_path / name) for name in ("train", "valid")]
    found = Findings()
    check_labels(*files, {}, found)
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path}/valid: category 'bored' (d, e); category 'calm' (c) is not one of")
    found = Findings()
    check_labels(*files, {"Calm": "calm", "bored": "calm"}, found)
    check_labels(files[0], "", {}, found)
    assert found.problems == []


def test_a_file_that_cannot_be_read_is_a_problem_and_a_fault_of_ours_is_a_warning():
    found = Findings()
    with found.of("here: "), open("no/such/file"):
        pass
    assert found.problems == ["here: no/such/file: No such file or directory; check the path"]

    def broken(recipe, stages, found):
        raise TypeError("x")

    found = check_recipe(Recipe({**NOTHING, "stage": "1", "stop_stage": "1"}), [broken])
    assert any("broken failed (TypeError: x)" in note for note in found.notes)
    assert not os.path.exists("no")

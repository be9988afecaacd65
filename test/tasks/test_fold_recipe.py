import json
import os
import subprocess

import pytest
from tiny_folds import make_recipe, options

from espnet2_secap.errors import SecError
from espnet2_secap.tasks import fold_recipe
from espnet2_secap.tasks.recipe import WORD_END, Recipe


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(make_recipe(tmp_path))
    return Recipe.of(options(sec_tag="it's", align_args=f"--max_epoch{WORD_END}3"))


def test_options_of_a_fold(recipe):
    recipe.options |= {"expdir": "big/exp", "sec_exp": "big/exp/a/b", "align_exp": "big/exp/c", "goals": "g.json"}
    recipe.options |= {
        "sec_stats_dir": "big/exp/d",
        "train_set": "tr",
        "test_sets": "t1 t2",
        "decode_dir": "big/exp/a/b/d",
    }
    made = fold_recipe.fold_options(recipe)
    assert made["sec_exp"] == "exp/a/b" and made["align_exp"] == "exp/c" and made["expdir"] == "exp"
    assert (made["train_set"], made["test_sets"], made["folds"], made["goals"]) == ("train", "test", "", "")
    assert made["align_args"] == "--max_epoch 3" and "stage" not in made and "decode_dir" not in made
    assert fold_recipe.decoded(recipe) == "a/b/d"


def test_words_of_options_are_read_as_they_were(recipe, repo):
    """By `split` of sec.sh, whatever blanks and quotes they have."""
    words = ["--prompt", "a b", "it's", 'say "x"', "", "--conf", "k=v w", "plain"]
    script = '. utils/sec_functions.sh; split "$1"; printf "%s\\0" "${parts[@]}"'
    read = subprocess.run(
        ["bash", "-c", script, "x", fold_recipe.quoted(words)], cwd=repo, capture_output=True, text=True
    )
    assert read.stdout.split("\0")[:-1] == words
    recipe.options["caption_args"] = WORD_END.join(words)
    assert fold_recipe.fold_options(recipe)["caption_args"] == fold_recipe.quoted(words)


def test_experiments_outside_of_the_fold_are_refused(recipe):
    recipe.options["sec_exp"] = "/models/x"
    with pytest.raises(SecError, match="--sec_exp /models/x: with --folds it must lie below --expdir exp"):
        fold_recipe.fold_options(recipe)


def test_the_fingerprint_changes_with_what_counts(recipe):
    lists = {"train": ["a"]}
    recipe.options["goals"] = "conf/goals.json"

    def now():
        return fold_recipe.made_of(recipe, fold_recipe.fold_options(recipe), lists)

    before = now()
    for name in ("nj", "stage", "fold_jobs", "train_threads", "lock"):
        recipe.options[name] = "7"
    with open("conf/goals.json", "a") as file:
        file.write(" ")
    assert now() == before
    seen = {before}
    recipe.options["inference_args"] = "--seed 1"
    seen.add(now())
    with open("conf/caption.yaml", "a") as file:
        file.write("seed: 1\n")
    seen.add(now())
    lists["train"].append("b")
    seen.add(now())
    with open("dump/raw/train/captions", "a") as file:
        file.write('x ["new"]\n')
    seen.add(now())
    with open("pretrained/hubert/config.json", "w") as file:
        file.write("{}")
    seen.add(now())
    assert len(seen) == 6


def test_links(recipe, tmp_path):
    fold = tmp_path / "folds/3/1"
    fold.mkdir(parents=True)
    for name in ("notes", ".lock", "exp", "run.sh"):
        (tmp_path / name).write_text("")
    fold_recipe.link_recipe(fold, "../../..", recipe)
    assert {path.name for path in fold.iterdir()} == {"conf", "notes", "sec.sh", "pretrained"}
    assert (fold / "pretrained/llama").resolve() == tmp_path / "pretrained/llama"
    assert (fold / "conf").resolve() == tmp_path / "conf" and not os.path.isabs(os.readlink(fold / "conf"))
    (fold / "pretrained/llama").unlink()
    (fold / "pretrained/llama").mkdir()
    fold_recipe.link_recipe(fold, "../../..", recipe)
    assert not (fold / "pretrained/llama").is_symlink()


def test_run_sh_passes_every_option_as_it_is(recipe, tmp_path):
    (tmp_path / "exp").mkdir()
    (tmp_path / "sec.sh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "sec.sh").chmod(0o755)
    made = fold_recipe.fold_options(recipe)
    assert not fold_recipe.prepare(tmp_path, 1, "x", made, 5, 7)
    done = subprocess.run(["./run.sh", "--nj", "9"], cwd=tmp_path, capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    assert words[:4] == ["--stage", "5", "--stop_stage", "7"] and words[-2:] == ["--nj", "9"]
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    assert pairs["--sec_tag"] == "it's" and pairs["--align_args"] == "--max_epoch 3" and pairs["--goals"] == ""


def test_a_finished_fold_is_not_run_again(tmp_path):
    (tmp_path / "exp").mkdir()

    def run(made_from, first, last, ends=True):
        done = fold_recipe.prepare(tmp_path, 1, made_from, {}, first, last)
        wanted, finished = tmp_path / fold_recipe.WANTED, tmp_path / fold_recipe.FINISHED
        assert done == (finished.exists() and wanted.read_text() == finished.read_text())
        if not done:
            finished.unlink(missing_ok=True)  # as utils/sec_folds.sh does
            if ends:
                finished.write_text(wanted.read_text())
        return done, json.loads(wanted.read_text())["stages"]

    assert run("a", 4, 8) == (False, [4, 5, 6, 7, 8])
    assert run("a", 4, 8) == (True, [4, 5, 6, 7, 8])
    assert run("a", 8, 8) == (True, [4, 5, 6, 7, 8])
    assert run("b", 7, 8) == (False, [7, 8])
    assert run("b", 4, 5) == (False, [4, 5])  # and what was decoded is older now
    assert run("b", 4, 8, ends=False) == (False, [4, 5, 6, 7, 8])
    assert run("b", 4, 8) == (False, [4, 5, 6, 7, 8])


def test_a_fold_goes_on_behind_the_stages_that_are_done(tmp_path):
    (tmp_path / "exp").mkdir()
    fold_recipe.prepare(tmp_path, 1, "a", {}, 4, 6)
    (tmp_path / fold_recipe.FINISHED).write_text((tmp_path / fold_recipe.WANTED).read_text())
    assert not fold_recipe.prepare(tmp_path, 1, "a", {}, 4, 8)
    assert "--stage 7 " in (tmp_path / "run.sh").read_text()
    assert json.loads((tmp_path / fold_recipe.WANTED).read_text())["stages"] == [4, 5, 6, 7, 8]
    (tmp_path / fold_recipe.FINISHED).write_text("{broken")
    assert not fold_recipe.prepare(tmp_path, 1, "a", {}, 4, 8)
    assert "--stage 4 " in (tmp_path / "run.sh").read_text()

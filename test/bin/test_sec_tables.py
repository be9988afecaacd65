"""sec_tables in a recipe folder: the plan, and bad input in one line; test/egs2/test_tables.py runs experiments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_tables import CONF, SEC

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "sec.sh").write_text(SEC)
    for name in ("run.sh", "path.sh"):
        (tmp_path / name).write_text("")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "tables.yaml").write_text(
        yaml.safe_dump(CONF | {"seconds": {6: 60, 7: 60, 8: 60}, "speed": 1e9})
    )
    return tmp_path


def run(recipe, *words):
    env = {**os.environ, "PYTHONPATH": str(REPO), "PATH": f"{REPO / 'utils'}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_tables", *words]
    return subprocess.run(command, cwd=recipe, capture_output=True, text=True, timeout=100, env=env)


def test_the_plan_alone_leaves_nothing_behind(recipe):
    before = sorted(recipe.rglob("*"))
    done = run(recipe, "--dry_run", "true", "--seeds", "0", "1", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("align_both_seed") for line in lines) == 2
    assert "other                            left out        -  this version has no encoder:not_there" in lines
    assert lines[-1].startswith("8 of 8 experiments to run, 2 at a time: about ")
    assert lines[-1].endswith("(from a short timing, without 4 of unknown length)")
    assert sorted(recipe.rglob("*")) == before


def test_an_experiment_that_fails_is_named_with_its_reason_and_log(recipe):
    (recipe / "run.sh").write_text("#!/bin/sh\necho 'sec.sh: error: no corpus' >&2\nexit 1\n")
    (recipe / "run.sh").chmod(0o755)
    done = run(recipe)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    told = f"sec_tables: error: data: sec.sh: error: no corpus; its log is {recipe}/tables/exp/data/run.log; 4 others"
    assert done.stderr.startswith(told) and "repeat to resume" in done.stderr
    assert (recipe / "tables" / "conf").is_symlink() and not (recipe / "tables" / "tables").exists()
    assert not (recipe / "exp" / "TABLES.md").exists()


@pytest.mark.parametrize(
    "words, told",
    [
        (["--tables", "5"], "sec_tables: error: --tables '5': there is no such name; tables of conf/tables.yaml: 2"),
        (["--systems", "none.yaml"], "sec_tables: error: none.yaml: "),
        (["--seeds", "x"], "sec_tables: error: --seeds "),
        (["--folds", "1"], "sec_tables: error: --folds 1: must be 2 or more"),
        (["--output", "x.html"], "sec_tables: error: --output x.html: must be the Markdown file"),
        (["--options", "--nj"], "sec_tables: error: --options --nj: must be pairs --name value"),
        (["--options", '--nj "2'], 'sec_tables: error: --options --nj "2: No closing quotation'),
        (["--options", "--njj 2"], "sec_tables: error: --options: unknown key 'njj'"),
        (["--options", "--expdir x"], "sec_tables: error: --options: unknown key 'expdir'"),
    ],
)
def test_bad_input_is_one_line(recipe, words, told):
    words = [f"--options={words[1]}"] if words[0] == "--options" else words
    done = run(recipe, *words, "--dry_run", "true")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stderr.startswith(told), done.stderr


def test_elsewhere_than_in_a_recipe(recipe):
    (recipe / "run.sh").unlink()
    done = run(recipe, "--dry_run", "true")
    assert done.stderr.startswith("sec_tables: error: run.sh: is not here; run it in a recipe's folder")

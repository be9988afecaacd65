import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_folds import SYSTEM, decode, make_recipe, options

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path):
    return make_recipe(tmp_path)


def run(recipe, *words):
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_folds", *words]
    return subprocess.run(command, cwd=recipe, capture_output=True, text=True, timeout=100, env=env)


def test_make_and_pool_and_table(recipe):
    done = run(recipe, "make", "--folder", "folds/3", *options())
    assert done.returncode == 0, done.stderr
    assert "folds/3: 24 recordings of 6 speakers" in done.stdout and "train 14, valid 2, test 8" in done.stdout
    assert {path.name for path in (recipe / "folds/3").iterdir()} == {"1", "2", "3", "test"}
    decode(recipe / "folds/3", 3)
    done = run(recipe, "pool", "--folder", "folds/3", *options())
    assert (done.returncode, done.stdout) == (0, f"folds/3/exp/{SYSTEM}/test\n"), done.stderr
    score = ["--ref", "folds/3/test/captions", "--hyp", f"folds/3/exp/{SYSTEM}/test/captions", "--metrics", "rouge_l"]
    call = [sys.executable, "-m", "espnet2_secap.bin.sec_score", *score]
    subprocess.run([*call, "--output", f"folds/3/exp/{SYSTEM}/test/score.json"], cwd=recipe, check=True)
    done = run(recipe, "table", "--folder", "folds/3")
    assert done.returncode == 0, done.stderr
    header, row = (recipe / "folds/3/exp/folds.tsv").read_text().splitlines()
    assert header.startswith("system\tmetric\tpooled\tmean\tstd\tfold_1") and row.startswith(f"{SYSTEM}\trouge_l\t")


def test_the_same_again_changes_nothing(recipe):
    run(recipe, "make", "--folder", "folds/3", *options())
    before = {path: path.read_bytes() for path in recipe.rglob("*") if path.is_file()}
    done = run(recipe, "make", "--folder", "folds/3", *options())
    assert done.returncode == 0
    assert {path: path.read_bytes() for path in recipe.rglob("*") if path.is_file()} == before


def test_bad_input_is_one_line(recipe):
    done = run(recipe, "make", "--folder", "folds/7", *options(folds="7", fold_by="speaker"))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "sec_folds: error: --folds 7 --fold_by speaker: there are only 6 speakers; lower --folds\n"
    assert not (recipe / "folds").exists()
    done = run(recipe, "pool", "--folder", "folds/3", *options())
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "folds/3: does not hold folds 1, 2" in done.stderr

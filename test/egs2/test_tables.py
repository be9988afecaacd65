"""run_tables.sh on a corpus of the smallest useful size: killed, resumed, done; its tables and claims."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from recipe import SMALL_CORPUS, recipe_folder

pytestmark = [pytest.mark.recipe, pytest.mark.slow(120)]
PARTS = "--pretrain_config conf/pretrain.yaml"  # the small ones
OPTIONS = f'--local_data_opts "{SMALL_CORPUS} {PARTS}" --caption_args "--max_epoch 1" --align_args "--max_epoch 1"'
CALL = ["./run_tables.sh", "--tables", "4", "--jobs", "2", "--options", OPTIONS]


def tables(folder, *words):
    return subprocess.run([*CALL, *words], cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def made(repo, tmp_path_factory):
    """What was printed by the run that goes on after kill -9, and by one more."""
    folder = recipe_folder(repo, "mini_emospeech", tmp_path_factory.mktemp("tables"))
    (folder / "run_tables.sh").symlink_to(repo / "egs2/TEMPLATE/sec1/run_tables.sh")
    first = folder / "tables/exp/.tables/feats_hubert.json"
    with subprocess.Popen(CALL, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until = time.monotonic() + 300
        while not first.exists():
            assert process.poll() is None and time.monotonic() < until, process.stdout.read()
            time.sleep(0.2)
        time.sleep(2)
        os.kill(process.pid, signal.SIGKILL)
    resumed = tables(folder)
    return folder, resumed, tables(folder)


def test_a_killed_run_goes_on_and_a_finished_one_does_nothing(made):
    _, resumed, again = made
    assert resumed.returncode == again.returncode == 0, resumed.stdout[-3000:] + resumed.stderr[-3000:]
    assert "data                             done" in resumed.stdout and "data begins" not in resumed.stdout
    assert resumed.stdout.count(" begins; log: ") == 8  # three first stages, five systems
    assert "0 of 10 experiments to run" in again.stdout and " begins; log: " not in again.stdout


def test_the_tables_say_what_was_run(made):
    folder, _, again = made
    text = (folder / "exp/TABLES.md").read_text(encoding="utf-8")
    assert "## Table 4: training\n" in text
    assert re.search(
        r"\n\| STMIL, SCCL \| frozen \| 1 \| [\d.]+ \[57.92\] \| ", text
    )  # SIM1 by the mini sentence encoder
    assert (folder / "exp/TABLES.tex").read_text().count(r"\begin{table}") == 4  # on all, and on the contradicting
    assert (folder / "exp/TABLES.html").read_text().count("<h2>") == 4
    written = json.loads((folder / "exp/TABLES.json").read_text())
    (claims,) = [one for one in written["sections"] if one["section"] == "Claims of Table 4"]
    assert len(claims["rows"]) == 5 and {row[2] for row in claims["rows"]} <= {"holds", "does not hold", "undecided"}
    assert all("(" in row[3] and row[4] == "1" for row in claims["rows"])
    assert "TABLES.html" in again.stdout


def test_a_first_stage_is_shared(made):
    folder, *_ = made
    exp = folder / "tables/exp"
    assert sorted(path.name for path in exp.glob("align_*")) == [f"align_{x}_seed0" for x in ("both", "sccl", "stmil")]
    for system in ("secap", "frozen_qformer"):
        config = (exp / f"{system}_seed0/sec_caption_{system}_seed0/config.yaml").read_text()
        assert "align_both_seed0/sec_align_both_seed0" in config
    assert "init_model: []" in (exp / "no_stage1_seed0/sec_caption_no_stage1_seed0/config.yaml").read_text()
    assert not (folder / "data").exists() and not (folder / "dump").exists()  # the recipe's own are untouched


def test_a_second_run_at_once_is_refused(made):
    folder, *_ = made
    shutil.rmtree(folder / "tables/exp/.tables")
    with subprocess.Popen(CALL, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + 60
        while not (folder / "tables/exp/.tables").exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        other = tables(folder)
        os.killpg(os.getpgid(process.pid), 0)
        process.terminate()
    assert other.returncode == 1 and "tables/.tables.lock is in use by process" in other.stderr

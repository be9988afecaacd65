"""egs2/TEMPLATE/sec1/setup.sh: the recipe folder of a new corpus."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SHELLCHECK = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(REPO / "tools/venv/bin"))


@pytest.fixture
def checkout(tmp_path):
    """A copy of the shell layer, with the environment and the package of this repository."""
    root = tmp_path / "checkout"
    shutil.copytree(REPO / "egs2/TEMPLATE", root / "egs2/TEMPLATE", symlinks=True)
    shutil.copytree(REPO / "egs2/mini_emospeech/sec1/local", root / "egs2/mini_emospeech/sec1/local")
    shutil.copytree(REPO / "utils", root / "utils")
    (root / "tools").mkdir()
    (root / "tools/venv").symlink_to(REPO / "tools/venv")
    (root / "espnet2_secap").symlink_to(REPO / "espnet2_secap")
    return root


def setup(checkout, *args, cwd=None):
    return subprocess.run(
        [checkout / "egs2/TEMPLATE/sec1/setup.sh", *args],
        cwd=cwd or checkout,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_new_recipe(checkout):
    done = setup(checkout, "egs2/mycorpus")
    assert done.returncode == 0, done.stderr
    recipe = checkout / "egs2/mycorpus/sec1"
    assert {p.name for p in recipe.iterdir()} == {
        "sec.sh",
        "path.sh",
        "run_tables.sh",
        "aligncap.sh",
        "run_aligncap.sh",
        "utils",
        "cmd.sh",
        "run.sh",
        "conf",
        "local",
    }
    links = {p.name: os.readlink(p) for p in recipe.iterdir() if p.is_symlink()}
    assert links == {
        "sec.sh": "../../TEMPLATE/sec1/sec.sh",
        "path.sh": "../../TEMPLATE/sec1/path.sh",
        "run_tables.sh": "../../TEMPLATE/sec1/run_tables.sh",
        "aligncap.sh": "../../TEMPLATE/sec1/aligncap.sh",
        "utils": "../../../utils",
    }
    assert all((recipe / name).exists() for name in links)
    assert (recipe / "conf/slurm.conf").is_file() and os.access(recipe / "run.sh", os.X_OK)
    template = REPO / "egs2/TEMPLATE/sec1/conf"
    assert {p.name for p in (recipe / "conf").iterdir()} == {p.name for p in template.iterdir()}
    named = re.findall(r"conf/\w+\.yaml", (recipe / "run.sh").read_text())
    assert len(named) >= 3 and all((recipe / name).is_file() for name in named)
    assert (recipe / "local/pretrain.sh").is_file() and (recipe / "local/pretrain_hubert.py").is_file()
    assert [p.name for p in recipe.parent.iterdir()] == ["sec1"], "nothing half-written is left beside it"


def test_same_folder_however_it_is_named(checkout):
    """With its last part, with a slash at the end, from another folder, or by the corpus's name alone."""
    for name, given, cwd in [
        ("a", "egs2/a/sec1", "."),
        ("b", "egs2/b/", "."),
        ("c", "../../c", "egs2/TEMPLATE/sec1"),
        ("d", "d", "egs2/TEMPLATE/sec1"),
    ]:
        done = setup(checkout, given, cwd=checkout / cwd)
        assert done.returncode == 0, done.stderr
        assert os.readlink(checkout / f"egs2/{name}/sec1/utils") == "../../../utils"


def test_outside_of_egs2(checkout, tmp_path):
    assert setup(checkout, str(tmp_path / "elsewhere/corpus")).returncode == 0
    recipe = tmp_path / "elsewhere/corpus/sec1"
    assert (recipe / "sec.sh").resolve() == (checkout / "egs2/TEMPLATE/sec1/sec.sh").resolve()
    assert (recipe / "utils/run.pl").is_file()


def test_existing_folder(checkout):
    (checkout / "egs2/empty/sec1").mkdir(parents=True)
    assert setup(checkout, "egs2/empty").returncode == 0
    mine = checkout / "egs2/full/sec1/local/data.sh"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    done = setup(checkout, "egs2/full")
    assert done.returncode == 1 and "full/sec1' is there and not empty" in done.stderr
    assert done.stderr.count("\n") == 1
    assert mine.read_text() == "precious" and len(list(mine.parent.parent.iterdir())) == 1
    (checkout / "egs2/file").mkdir()
    (checkout / "egs2/file/sec1").write_text("x")
    assert setup(checkout, "egs2/file").returncode == 1


@pytest.mark.parametrize("args", [[], [""], ["a", "b"], ["--nope"], ["egs2/two words"]])
def test_bad_calls(checkout, args):
    done = setup(checkout, *args)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("setup.sh: error: ") and done.stderr.count("\n") == 1
    assert sorted(p.name for p in (checkout / "egs2").iterdir()) == ["TEMPLATE", "mini_emospeech"]


def test_help(checkout):
    done = setup(checkout, "--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: ")


@pytest.mark.needs("venv")
def test_data_sh_says_that_it_is_not_written(checkout):
    setup(checkout, "egs2/mycorpus")
    done = subprocess.run(
        ["local/data.sh", "--corpus", "/my corpus"],
        cwd=checkout / "egs2/mycorpus/sec1",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "local/data.sh: error: it is not written yet" in done.stderr and "/my corpus" in done.stderr


@pytest.mark.needs("venv")
def test_run_sh_stops_at_the_unwritten_stage(checkout):
    setup(checkout, "egs2/mycorpus")
    done = subprocess.run(
        ["./run.sh", "--stage", "1", "--stop-stage", "8"],
        cwd=checkout / "egs2/mycorpus/sec1",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0 and "it is not written yet" in done.stderr, done.stderr


def test_options_of_run_sh_are_those_of_sec_sh(checkout):
    setup(checkout, "egs2/mycorpus")
    recipe = checkout / "egs2/mycorpus/sec1"
    options = re.findall(r"^ +--(\w+) ", (recipe / "run.sh").read_text(), re.M)
    known = set(re.findall(r"^(\w+)=", (recipe / "sec.sh").read_text(), re.M))
    assert len(options) >= 6 and set(options) <= known


@pytest.mark.needs("shellcheck")
def test_shellcheck_of_what_it_writes(checkout):
    setup(checkout, "egs2/mycorpus")
    recipe = checkout / "egs2/mycorpus/sec1"
    shutil.copy(REPO / ".shellcheckrc", checkout)
    done = subprocess.run(
        [SHELLCHECK, "run.sh", "cmd.sh", "local/data.sh"], cwd=recipe, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout

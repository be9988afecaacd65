"""path.sh and cmd.sh of the recipes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
TEMPLATE = REPO / "egs2/TEMPLATE/sec1"


def bash(cwd, script, **env):
    """Run a script under `set -euo pipefail` in an almost empty environment."""
    environment = {"PATH": "/usr/bin:/bin", **env}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def checkout(tmp_path):
    """A repository of its own with a recipe that links to the template, and a tools/venv of two programs."""
    root = tmp_path / "my checkout"
    (root / "espnet2_secap").mkdir(parents=True)
    shutil.copytree(TEMPLATE, root / "egs2/TEMPLATE/sec1", symlinks=True)
    shutil.copytree(REPO / "utils", root / "utils")
    recipe = root / "egs2/mycorpus/sec1"
    recipe.mkdir(parents=True)
    for name in ("path.sh", "cmd.sh"):
        (recipe / name).symlink_to(Path("../../TEMPLATE/sec1") / name)
    (root / "tools/venv/bin").mkdir(parents=True)
    (root / "tools/venv/bin/python3").symlink_to(sys.executable)
    return root


SHOW = '; printf "%s\\n" "$MAIN_ROOT" "$(command -v python3)" "$(command -v run.pl)" "$PYTHONPATH" "$PWD"'


def test_path_from_a_recipe(checkout):
    recipe = checkout / "egs2/mycorpus/sec1"
    done = bash(recipe, ". ./path.sh" + SHOW)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines == [
        str(checkout),
        f"{checkout}/tools/venv/bin/python3",
        f"{checkout}/utils/run.pl",
        str(checkout),
        str(recipe),
    ]


def test_path_from_elsewhere_and_through_linked_folders(checkout, tmp_path):
    link = tmp_path / "short"
    link.symlink_to(checkout / "egs2/mycorpus/sec1")
    for place, script in [(tmp_path, ". short/path.sh"), (link, ". ./path.sh"), (tmp_path, f'. "{link}/path.sh"')]:
        done = bash(place, script + SHOW)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == str(checkout)


def test_path_of_a_copied_path_sh(checkout):
    recipe = checkout / "egs2/mycorpus/sec1"
    (recipe / "path.sh").unlink()
    shutil.copy(TEMPLATE / "path.sh", recipe)
    assert bash(recipe, ". ./path.sh" + SHOW).stdout.splitlines()[0] == str(checkout)


def test_path_without_venv(checkout):
    shutil.rmtree(checkout / "tools/venv")
    done = bash(checkout / "egs2/mycorpus/sec1", ". ./path.sh; echo went on")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and f"make -C {checkout}/tools" in done.stderr


def test_path_outside_of_a_repository(tmp_path):
    shutil.copy(TEMPLATE / "path.sh", tmp_path)
    done = bash(tmp_path, ". ./path.sh; echo went on")
    assert done.returncode == 1 and done.stdout == "" and "path.sh: error: " in done.stderr


NAMES = ["OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PYTHONUNBUFFERED"]


def exported(checkout, before="", **env):
    done = bash(checkout / "egs2/mycorpus/sec1", f"{before} . ./path.sh; env", **env)
    assert done.returncode == 0, done.stderr
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return {name: variables.get(name) for name in NAMES}


def test_path_defaults(checkout):
    assert list(exported(checkout).values()) == ["1", None, None, None, "1"]


def test_path_leaves_what_the_user_set(checkout):
    mine = {"OMP_NUM_THREADS": "4", "HF_HOME": "/h", "HF_HUB_OFFLINE": "1"}
    assert list(exported(checkout, **mine).values()) == ["4", "/h", "1", None, "1"]
    shell_variables = "HF_HOME='/my models' HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1;"
    assert list(exported(checkout, before=shell_variables).values()) == ["1", "/my models", "1", "1", "1"]


def test_path_keeps_pythonpath_and_utf8(checkout):
    speak = "python3 -c 'print(\"语速\")' | cat"
    order = "printf '%s\\n' b B a | sort | tr -d '\\n'"
    script = f". ./path.sh; echo $PYTHONPATH; {speak}; {order}"
    done = bash(checkout / "egs2/mycorpus/sec1", script, PYTHONPATH="/mine")
    assert done.stdout.splitlines() == [f"{checkout}:/mine", "语速", "Bab"]


@pytest.mark.needs("venv")
def test_path_of_this_repository(repo):
    done = bash(TEMPLATE, '. ./path.sh; python3 -c "import espnet2_secap; print(espnet2_secap.__file__)"')
    assert done.stdout.strip() == str(repo / "espnet2_secap/__init__.py")


# ---- cmd.sh

COMMANDS = '. ./cmd.sh; printf "%s\\n" "$train_cmd" "$cuda_cmd" "$decode_cmd"'


def test_cmd_default_is_local():
    assert bash(TEMPLATE, COMMANDS).stdout.splitlines() == ["run.pl"] * 3


def test_cmd_slurm_from_the_environment():
    done = bash(TEMPLATE, COMMANDS, cmd_backend="slurm")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == ["slurm.pl --config conf/slurm.conf"] * 3


def test_cmd_unknown_backend():
    done = bash(TEMPLATE, COMMANDS, cmd_backend="sge")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "cmd_backend 'sge'" in done.stderr and "slurm" in done.stderr


def test_slurm_conf_declares_what_recipes_and_espnet_use():
    """Each line is a command, an option with a value, a default or a comment; the command comes once."""
    lines = (TEMPLATE / "conf/slurm.conf").read_text().splitlines()
    assert [line.split(":")[0] for line in lines if "PLACE" in line][1:] == [f"# PLACE {n}" for n in (1, 2, 3, 4)]
    words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    assert [w for w in words if w[0] == "command"] == [
        ["command", "sbatch", "--export=PATH,HF_HOME,HF_HUB_OFFLINE,TRANSFORMERS_OFFLINE"]
    ]
    options = {w[1].split("=")[0]: w for w in words if w[0] == "option"}
    assert set(options) == {"name", "time", "mem", "num_threads", "num_nodes", "max_jobs_run", "gpu"}
    for word in words:
        assert word[0] in {"command", "option", "default"}
        if word[0] == "option" and word[1].endswith("=*") and len(word) > 2:
            assert any("$0" in part for part in word[2:]), word
        if word[0] == "default":
            assert word[1].split("=")[0] in options and len(word) == 2

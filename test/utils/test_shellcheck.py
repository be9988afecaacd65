"""All shell and Perl files of the repository, as the tools for them see them."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SHELLCHECK = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(REPO / "tools/venv/bin"))


def repository_files() -> list[Path]:
    """All files under version control that are here and no links."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=False)
    if done.returncode == 0:
        paths = [REPO / name for name in done.stdout.decode().split("\0") if name]
    else:  # an unpacked archive
        made = {"venv", "uv", ".git", "data", "dump", "exp", "pretrained"}
        paths = [p for p in REPO.rglob("*") if not made & set(p.relative_to(REPO).parts)]
    return [p for p in paths if p.is_file() and not p.is_symlink()]


def shebang(path: Path) -> str:
    with path.open("rb") as stream:
        line = stream.readline(200)
    return line.decode("ascii", "replace") if line.startswith(b"#!") else ""


FILES = repository_files()
SHELL = [p for p in FILES if p.suffix == ".sh" or (not p.suffix and "sh\n" in shebang(p))]
PERL = [p for p in FILES if p.suffix == ".pl"]


def name(path: Path) -> str:
    return str(path.relative_to(REPO))


def test_files_are_found():
    assert {"utils/parse_options.sh", "egs2/TEMPLATE/sec1/setup.sh"} <= set(map(name, SHELL))
    assert "utils/run.pl" in set(map(name, PERL))


@pytest.mark.needs("shellcheck")
def test_shellcheck():
    done = subprocess.run([SHELLCHECK, *map(str, SHELL)], cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SHELL, ids=name)
def test_bash_reads_it(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("path", PERL, ids=name)
def test_perl_compiles_it_without_a_warning(path):
    done = subprocess.run(["perl", "-wc", path], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == f"{path} syntax OK\n", done.stderr


@pytest.mark.parametrize("path", SHELL + PERL, ids=name)
def test_programs_can_be_started(path):
    """A script names its interpreter and is executable, unless it is there to be sourced."""
    sourced = {
        "parse_options.sh",
        "sec_functions.sh",
        "sec_folds.sh",
        "path.sh",
        "cmd.sh",
        "db.sh",
        "job_common.pl",
        "slurm_script.pl",
    }
    assert path.name in sourced or shebang(path), "the first line names no interpreter"
    assert bool(path.stat().st_mode & 0o100) != (path.name in sourced)

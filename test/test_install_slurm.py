"""tools/installers/install_slurm.sh, with an apt-get that installs nothing: when it is called, and what it says."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools/installers/install_slurm.sh"


@pytest.fixture
def install(tmp_path):
    """Run the script where PATH has no Slurm, with this text as apt-get (None: there is none) -> (status, output).

    It is asked to install Slurm (SLURM=1) unless the environment is given.
    """
    tmp_path.chmod(0o755)
    (tmp_path / "bin").mkdir()
    for name in ("bash", "id", "mktemp", "chmod", "rm", "grep", "tail", "timeout", "touch"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))

    def run(apt_get, path=tmp_path / "bin", **env):
        if apt_get is not None:
            (tmp_path / "bin/apt-get").write_text(f"#!{shutil.which('bash')}\n{apt_get}\n")
            (tmp_path / "bin/apt-get").chmod(0o755)
        env = {"PATH": str(path), **(env or {"SLURM": "1"})}
        done = subprocess.run([SCRIPT], env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def refused(result) -> str:
    status, text = result
    assert status == 1 and text.startswith("install_slurm.sh: the tests that need Slurm are skipped: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("env", [{"HOME": "/"}, {"SLURM": "0", "CI": "true"}, {"CI": "false"}, {"CI": ""}])
def test_it_installs_nothing_unless_asked(install, tmp_path, env):
    said = refused(install('echo "$@" >> "${0}.calls"', **env))
    assert "it is not installed; as root, SLURM=1 make test installs slurmctld, slurmd, slurm-client, munge" in said
    assert not (tmp_path / "bin/apt-get.calls").exists()


@pytest.mark.needs("root")
@pytest.mark.parametrize("env", [{"SLURM": "1"}, {"CI": "true"}, {"CI": "1", "SLURM": "yes"}])
def test_it_installs_where_it_is_asked_or_in_continuous_integration(install, env):
    assert install("exit 0", **env)[0] == 0


def test_one_line_says_why_not(install):
    assert "apt-get not found; install the programs " in refused(install(None))
    if os.geteuid() != 0:
        assert "needs root" in refused(install("exit 0"))


@pytest.mark.needs("root")
def test_what_apt_get_says(install, tmp_path):
    failing = 'echo "$@" >> "${0}.calls"; echo Reading; echo "E: no route" >&2; exit 100'
    status, text = install(failing)
    assert status == 1 and text.splitlines()[1:] == [
        "install_slurm.sh: the tests that need Slurm are skipped: apt-get could not install it: E: no route"
    ]
    calls = (tmp_path / "bin/apt-get.calls").read_text().splitlines()
    wanted = "install -y -q --no-install-recommends slurmctld slurmd slurm-client munge"
    assert calls == [wanted, "update -q"]
    (tmp_path / "bin/apt-get.calls").unlink()
    update = 'case $1 in update) touch "${0}.new" ;; install) [ -e "${0}.new" ] ;; esac'
    status, text = install(f'echo "$@" >> "${{0}}.calls"; {update}')
    assert status == 0 and text.splitlines()[-1] == "install_slurm.sh: Slurm is installed"
    assert (tmp_path / "bin/apt-get.calls").read_text().splitlines() == [wanted, "update -q", wanted]


@pytest.mark.needs("slurm")
def test_what_is_there_stays(install):
    assert install("exit 1", path=os.environ["PATH"]) == (0, "")


def test_help():
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "SLURM=1" in done.stdout and "CI is set" in done.stdout

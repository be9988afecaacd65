"""tools/check_install.py: the table, and when it fails."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tools"))

import check_install  # noqa: E402


def run(*args, **env):
    return subprocess.run(
        [sys.executable, REPO / "tools/check_install.py", *args],
        capture_output=True,
        text=True,
        timeout=120,
        env=env or None,
    )


def rows(text):
    """Name in the first column -> the line."""
    return {line.split("  ")[0]: line for line in text.splitlines()}


def test_table_of_this_machine():
    done = run()
    assert done.returncode == 0, done.stderr
    table = rows(done.stdout)
    for name in ("perl", "bash", "java", "sbatch", "shellcheck", "nvidia-smi", "torch", "espeakng-loader"):
        assert name in table
    assert table["torch"].split()[1:3] == ["yes", metadata.version("torch")]
    assert "METEOR" in table["java"] and "slurm" in table["sbatch"]


def test_parser_of_spice(tmp_path, monkeypatch):
    monkeypatch.delenv("SEC_SPICE", raising=False)
    (tmp_path / "spice").mkdir()
    (tmp_path / "spice/stanford-corenlp-3.6.0-models.jar").touch()
    assert check_install.spice_row(tmp_path).version is None, "Rhino is missing"
    (tmp_path / "spice/rhino-1.7.15.jar").touch()
    row = check_install.spice_row(tmp_path)
    assert row.version == "3.6.0" and row.fix == "" and "make -C tools spice" in row.note
    monkeypatch.setenv("SEC_SPICE", str(tmp_path / "none"))
    assert check_install.spice_row(tmp_path).version is None


def test_quiet_says_nothing_where_nothing_is_missing():
    done = run("--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_missing_programs(tmp_path):
    """With an empty PATH: perl and bash are needed, Java and Slurm are not."""
    done = run(PATH=str(tmp_path))
    table = rows(done.stdout)
    assert table["perl"].split()[1] == "NO" and table["java"].split()[1] == "no"
    assert done.returncode == 1
    assert "missing: perl; to get it: install perl" in done.stderr and "java" not in done.stderr


def test_all_requirements_are_listed():
    names = {row.name for row in check_install.package_rows(REPO / "tools")}
    for line in (REPO / "tools/requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert check_install.normalized(check_install.re.split("[=<>]", line)[0]) in names, line


def test_notes_are_of_packages_that_are_required():
    wanted = set(check_install.read_requirements(REPO / "tools/requirements.in"))
    assert set(check_install.OPTIONAL) | set(check_install.NEEDED_FOR) == wanted


def test_missing_and_different_packages(tmp_path):
    (tmp_path / "requirements.in").write_text("# x\nno_such.Package>=1\npytest>=8\npeft\nanother-missing==1\n")
    (tmp_path / "requirements.lock").write_text("pytest==0.1 ; python_version < '3'\npytest==0.2\n")
    found = {row.name: row for row in check_install.package_rows(tmp_path)}
    assert found["no-such-package"].version is None and found["no-such-package"].fix == "make -C tools"
    assert found["pytest"].version == pytest.__version__
    assert "the lock has 0.1 or 0.2" in found["pytest"].note
    assert found["peft"].fix == "", "not every recipe needs it"


def test_missing_package_fails(tmp_path, monkeypatch, capsys):
    lines = (REPO / "tools/requirements.in").read_text() + "\nno-such-package>=1\n"
    (tmp_path / "requirements.in").write_text(lines)
    monkeypatch.setattr(check_install, "TOOLS", tmp_path)
    assert check_install.main(["--quiet"]) == 1
    assert capsys.readouterr().err == ("check_install: error: missing: no-such-package; to get it: make -C tools\n")


def test_version_of_a_failing_program_is_missing(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho no driver\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = next(p for p in check_install.PROGRAMS if p.name == "nvidia-smi")
    assert check_install.program_row(program).version is None
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 570.1'\necho 'NVIDIA H200, 570.1'\n")
    assert check_install.program_row(program).version == "2 x NVIDIA H200, 570.1"


def test_imports_nothing_heavy():
    code = "import sys, check_install as c; c.package_rows(c.TOOLS); print({'torch', 'espnet2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO / "tools", capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr

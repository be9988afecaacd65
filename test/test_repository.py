"""The rules of the house, held by a test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet2_secap import __version__

REPO = Path(__file__).resolve().parent.parent
TRACKED = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True).stdout.split("\n")[:-1]
pytestmark = pytest.mark.skipif(not TRACKED, reason="needs a git checkout: looks at tracked files")


def tracked(*suffixes: str) -> list[Path]:
    paths = [REPO / name for name in TRACKED]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix in suffixes]


def test_no_file_is_longer_than_400_lines():
    long = {
        str(p.relative_to(REPO)): n
        for p in tracked(".py", ".sh", ".pl")
        if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long


def test_the_template_flow_stays_readable():
    assert len((REPO / "egs2" / "TEMPLATE" / "sec1" / "sec.sh").read_text().splitlines()) < 250


def test_no_path_of_one_machine_and_no_big_or_foreign_files():
    for path in tracked(".py", ".sh", ".pl", ".md", ".yaml", ".json", ".in", ".lock"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w./])/(work|root|home/\w+)/", text), path
    for name in TRACKED:
        assert not re.search(r"tx_(emotion|emulate|xiao)_\w+\.(wav|flac|ark)$", name), name
        path = REPO / name
        assert (
            path.is_symlink()
            or not path.is_file()
            or path.stat().st_size < (3 if name.startswith("test/fixtures/") else 1) * 2**20
        ), name


# Modules that still have no test file of their name. To do: write it, and remove the module here.
WITHOUT_TEST = set(
    """
    bin/sec_import_secap bin/sec_inference bin/sec_params bridge/abs_bridge
    decoder/abs_decoder inference/decode inference/outputs inference/probe inference/speech2caption
    tasks/options text/text_encoder
    """.split()
)


def test_tests_mirror_the_package():
    """espnet2_secap/<room>/<module>.py has test/<room>/test_<module>.py."""
    package = REPO / "espnet2_secap"
    modules = [path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"]
    missing = {
        path.with_suffix("").as_posix()
        for path in modules
        if not (REPO / "test" / path.parent / f"test_{path.stem}.py").is_file()
    }
    assert missing - WITHOUT_TEST == set(), "write a test file of the module's name"
    assert WITHOUT_TEST - missing == set(), "these have a test file, or are gone: remove them from WITHOUT_TEST"


def test_licence_and_version_are_the_same_everywhere():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["version"] == __version__
    licence = (REPO / "LICENSE").read_text(encoding="utf-8")
    assert (
        citation["license"] == "Apache-2.0" and "Apache License\n" in licence and "Version 2.0, January 2004" in licence
    )
    assert 'license="Apache-2.0"' in (REPO / "setup.py").read_text(encoding="utf-8")
    changes = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+)\]", changes, re.MULTILINE)[:2] == ["Unreleased", __version__]


@pytest.mark.parametrize("program", sorted(p.stem for p in (REPO / "espnet2_secap" / "bin").glob("sec_*.py")))
def test_every_program_has_help(program):
    done = subprocess.run(
        [sys.executable, "-m", f"espnet2_secap.bin.{program}", "--help"], capture_output=True, text=True, cwd=REPO
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "usage: " in done.stdout and len(done.stdout) > 200


def test_readme_names_what_is_there():
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^    ((?:egs2|espnet2_secap|tools|utils|test)/[\w/]*)", readme, re.MULTILINE):
        assert (REPO / name).exists(), name
    for room in (REPO / "espnet2_secap").iterdir():
        if room.is_dir() and room.name != "__pycache__":
            assert f"espnet2_secap/{room.name}/" in readme, room.name

"""The marks `needs` and `slow` say what is so."""

import ast
import re
from pathlib import Path

import marks
import pytest

TEST = Path(__file__).resolve().parent
SAID_BY_ITSELF = {"conftest.py", "marks.py"}


def files() -> list[Path]:
    return sorted(path for path in TEST.rglob("*.py") if path.name not in SAID_BY_ITSELF)


def test_what_a_whole_test_needs_is_said_by_the_mark():
    """`skipif` and `importorskip` hide it from `-m needs`; a test that finds out on its way calls pytest.skip."""
    for path in files():
        found = re.findall(r"mark\.skipif|importorskip", path.read_text(encoding="utf-8"))
        assert not found or path == Path(__file__), f"{path}: {found[0]}: use pytest.mark.needs (test/marks.py)"


def test_every_thing_is_needed_by_a_test_and_known():
    said = set(marks.OF_FIXTURES.values())
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.needs":
                said |= {argument.value for argument in node.args}
    assert said == marks.THINGS.keys()


def test_recipes_are_slow():
    """`make test-quick` runs no recipe: with the mark `recipe` comes the mark `slow`, with its seconds."""
    for path in files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Call)]
        if "pytest.mark.recipe" in names:
            assert any(name.startswith("pytest.mark.slow(") for name in names), path


def test_groups():
    """Where tests run: in one process with their file, Slurm's all in one, some anywhere."""
    for nodeid, group in [
        ("test/model/test_align.py::test_x[1]", "test/model/test_align.py"),
        ("test/utils/test_slurm_pl_jobs.py::test_x", "Slurm"),
        ("test/egs2/test_recipes_on_slurm.py::test_x", "Slurm"),
        ("test/egs2/test_recipes.py::test_help", "test/egs2/test_recipes.py"),
        ("test/egs2/test_interruptions.py::test_x[2]", "test/egs2/test_interruptions.py::test_x[2]"),
    ]:
        assert marks.scope_of(nodeid) == group


PROBE = """
import pytest

@pytest.mark.needs("{absent}", "proc")
def test_absent():
    assert False, "it runs"

@pytest.mark.needs({present})
def test_present(): ...

@pytest.mark.slow(50)
@pytest.mark.parametrize("number", [1, 2])
def test_long(number): ...

def test_heavy():
    import marks
    marks.CPU_LIMIT = -1.0
"""


@pytest.fixture
def tests(tmp_path, monkeypatch):
    """Run pytest, in this process, on the tests above, of which a thing that is never here is needed."""
    monkeypatch.setitem(marks.THINGS, "nothing", (lambda: False, "what nobody has"))
    present = '"git"' if marks.is_here("git") else ""
    (tmp_path / "test_probe.py").write_text(PROBE.format(absent="nothing", present=present))

    class Seen:
        def __init__(self):
            self.outcomes, self.warned = {}, []

        def pytest_warning_recorded(self, warning_message):
            self.warned.append(str(warning_message.message))

        def pytest_runtest_logreport(self, report):
            if report.when == "call" or report.skipped:
                name = report.nodeid.split("::")[1]
                self.outcomes[name] = (report.outcome, str(report.longrepr))

    def run(*options):
        seen, limit = Seen(), marks.CPU_LIMIT
        command = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--import-mode=importlib", "-c", "/dev/null"]
        pytest.main([*command, f"--rootdir={tmp_path}", str(tmp_path), *options], plugins=[marks, seen])
        marks.CPU_LIMIT = limit  # this test is judged, too
        run.warned = seen.warned
        return seen.outcomes

    return run


def test_what_the_marks_do(tests, tmp_path):
    outcomes = tests("--cpu-times", str(tmp_path / "times"))
    assert outcomes["test_absent"][0] == "skipped" and "needs what nobody has" in outcomes["test_absent"][1]
    assert outcomes["test_present"][0] == outcomes["test_long[1]"][0] == "passed"
    assert outcomes["test_heavy"][0] == "passed"
    assert any("mark it slow(0), or make it faster" in text for text in tests.warned)
    rows = [line.split("\t") for line in (tmp_path / "times").read_text().splitlines()]
    assert len(rows) == 5 and all(float(cpu) >= 0 and float(wall) >= 0 for cpu, wall, _ in rows)


def test_chosen_by_mark(tests):
    assert set(tests("-m", "slow")) == {"test_long[1]", "test_long[2]"}
    assert set(tests("-m", "needs and not slow")) == {"test_absent", "test_present"}

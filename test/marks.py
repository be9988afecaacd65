"""The two marks of tests, what each test costs, and how they are dealt to several processes.

`needs("java", ...)`: skipped where one of these things is missing. `slow(N)`: takes about N seconds of CPU time, with
all processes that it starts, or of waiting; `make test-quick` omits it. A test that takes CPU_LIMIT seconds without
the mark is warned of.
"""

import functools
import importlib.util
import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
SLOW = 5.0  # seconds of CPU time from which a test is to be marked
CPU_LIMIT = 20.0  # four times that, since a busy machine counts more seconds for the same work
OF_FIXTURES = {"shared": "shared", "htsat_bart": "htsat_bart", "slurm": "slurm"}  # fixtures that need something
# Tests that can run in any process. Of other files, all tests run in one process, one after the other.
ALONE = re.compile(r"/test_(interruptions\.py|recipes\.py::test_emospeech|repository\.py::test_every_program)")


def shared_folder() -> Path:
    """The folder with the real recordings and fixtures."""
    return Path(os.environ.get("SEC_SHARED", REPO.parent / "shared"))


def _program(*names: str) -> bool:
    return any(shutil.which(name) for name in names)


def _slurm() -> str:
    from slurm_cluster import why_not

    return why_not()


def _spice() -> bool:
    from espnet2_secap.metric import spice
    from espnet2_secap.metric.abs_metric import MetricUnavailable

    try:
        spice._command()
    except MetricUnavailable:
        return False
    return True


def _browser() -> bool:
    import browser

    return bool(browser.CHROMIUM and browser.DRIVER)


def _shellcheck() -> bool:
    return _program("shellcheck") or (REPO / "tools/venv/bin/shellcheck").exists()


# name -> whether it is here, what it is and how to get it
THINGS = {
    "aac_metrics": (
        lambda: importlib.util.find_spec("aac_metrics") is not None,
        "aac-metrics (pip install --no-deps aac-metrics==0.5.5 torchmetrics lightning-utilities)",
    ),
    "browser": (_browser, "chromium and chromedriver on the PATH (Debian: apt install chromium chromium-driver)"),
    "espnet": (lambda: importlib.util.find_spec("espnet2") is not None, "espnet (make -C tools)"),
    "ffmpeg": (lambda: _program("ffmpeg"), "ffmpeg on the PATH (Debian: apt install ffmpeg)"),
    "git": (lambda: (REPO / ".git").exists(), "a git checkout: looks at tracked files"),
    "htsat_bart": (
        lambda: (shared_folder() / "htsat_bart").is_dir(),
        "shared/htsat_bart, outputs of the released HTSAT-BART code",
    ),
    "java": (lambda: _program("java"), "Java (`java` on the PATH)"),
    "opensmile": (lambda: importlib.util.find_spec("opensmile") is not None, "opensmile (pip install opensmile)"),
    "pdflatex": (lambda: _program("pdflatex"), "pdflatex (Debian: texlive-latex-recommended)"),
    "proc": (lambda: Path("/proc/self/environ").exists(), "/proc, to see processes"),
    "root": (lambda: hasattr(os, "geteuid") and os.geteuid() == 0, "root"),
    "shared": (lambda: shared_folder().is_dir(), "the folder shared/ beside the project (or SEC_SHARED=FOLDER)"),
    "shellcheck": (_shellcheck, "shellcheck on the PATH or in tools/venv"),
    "slurm": (lambda: not _slurm(), "Slurm, and root to start it: SLURM=1 make test, as root, installs it"),
    "spice": (_spice, "Java and SPICE's parser: make -C tools spice"),
    "trl": (lambda: importlib.util.find_spec("trl") is not None, "trl (make -C tools, or pip install trl)"),
    "venv": (lambda: (REPO / "tools/venv").exists(), "tools/venv (make -C tools)"),
}


@functools.cache
def is_here(name: str) -> bool:
    """Whether this machine has one of THINGS."""
    return THINGS[name][0]()


def needs_of(item: pytest.Item) -> list[str]:
    """The THINGS that a test needs: by its marks and its fixtures."""
    names = {name for mark in item.iter_markers("needs") for name in mark.args}
    return sorted(names | {OF_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in OF_FIXTURES})


def scope_of(nodeid: str) -> str:
    """The group of tests that run in one process, one after the other. There can be one Slurm at a time."""
    if re.search(r"/test_(recipes_on_)?slurm", nodeid):
        return "Slurm"
    return nodeid if ALONE.search(nodeid) else nodeid.split("::")[0]


def cost(item: pytest.Item) -> float:
    """Seconds that a test takes, as its mark `slow` says; 0 without it or where it will be skipped."""
    mark = item.get_closest_marker("slow")
    return (mark.args[0] if mark.args else SLOW) if mark and all(map(is_here, needs_of(item))) else 0.0


def pytest_collection_modifyitems(config, items):
    """Let processes that share the tests begin with the longest groups; one process keeps the order of the files."""
    for item in items:
        unknown = [name for name in needs_of(item) if name not in THINGS]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid}: needs({unknown[0]!r}): add it to THINGS in test/marks.py")
        for name in set(getattr(item, "fixturenames", ())) & OF_FIXTURES.keys():
            item.add_marker(pytest.mark.needs(OF_FIXTURES[name]))  # found by -m, too
    if hasattr(config, "workerinput"):
        costs = defaultdict(float)
        for item in items:
            costs[scope_of(item.nodeid)] += cost(item)
        items.sort(key=lambda item: -costs[scope_of(item.nodeid)])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip what cannot run here."""
    missing = [THINGS[name][1] for name in needs_of(item) if not is_here(name)]
    if missing:
        pytest.skip(f"needs {'; '.join(missing)}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With pytest-xdist: groups by `scope_of`, in the order of the tests."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False
    return ByScope(config, log)


# ---- CPU time


def _cpu() -> float:
    return sum(os.times()[:4])  # of this process and of those that have ended


def pytest_addoption(parser):
    """The table of costs."""
    parser.addoption("--cpu-times", metavar="FILE", help="write seconds of CPU time and of waiting, for each test")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Note the CPU time of each part of a test; fail one that is slow and does not say so."""
    report = (yield).get_result()
    now, before = _cpu(), getattr(item, "cpu_time", None)
    item.cpu_time = now
    report.cpu_time = now - before if before is not None else 0.0
    if call.when == "call" and report.passed and report.cpu_time > CPU_LIMIT and not item.get_closest_marker("slow"):
        took = f"{report.cpu_time:.0f}"  # no failure: a busy machine counts more seconds than a quiet one
        item.warn(pytest.PytestWarning(f"took {took} s of CPU time: mark it slow({took}), or make it faster"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Begin to count."""
    item.cpu_time = _cpu()
    yield


def pytest_terminal_summary(terminalreporter, config):
    """Write the table: CPU seconds, seconds, test; largest first."""
    path = config.getoption("--cpu-times")
    if path:
        rows = defaultdict(lambda: [0.0, 0.0])
        for reports in terminalreporter.stats.values():
            for report in reports:
                if isinstance(report, pytest.TestReport):
                    rows[report.nodeid][0] += getattr(report, "cpu_time", 0.0)
                    rows[report.nodeid][1] += report.duration
        table = sorted(((*times, name) for name, times in rows.items()), reverse=True)
        Path(path).write_text("".join(f"{cpu:.2f}\t{wall:.2f}\t{name}\n" for cpu, wall, name in table))

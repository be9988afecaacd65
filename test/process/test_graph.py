"""Commands that wait for others: order, limits, failures, and the end of all when the caller ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet2_secap.process.graph import Job, free_memory, run_jobs, why

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.setenv("PATH", f"{REPO / 'utils'}:{os.environ['PATH']}")


def job(tmp_path, name, script, **more):
    return Job(name, ["bash", "-c", script], tmp_path / "logs" / f"{name}.log", **more)


def run(todo, jobs=4, **more):
    ended, lines = [], []
    failures = run_jobs(todo, jobs, lambda one, _: ended.append(one.name), lines.append, poll=0.02, **more)
    return ended, failures, lines


def test_a_job_waits_for_those_before_it(tmp_path):
    made = tmp_path / "made"
    todo = [
        job(tmp_path, "second", f"grep -q first {made} && echo second >> {made}", after=["first", "of an earlier run"]),
        job(tmp_path, "first", f"sleep 0.2; echo first >> {made}"),
    ]
    ended, failures, lines = run(todo)
    assert (ended, failures) == (["first", "second"], []) and made.read_text() == "first\nsecond\n"
    assert "second has ended (2 of 2)" in lines[-1]


def test_what_fails_holds_back_only_what_needs_it(tmp_path):
    bad = "echo 'sec.sh: error: no room' >&2; exit 1"
    todo = [
        job(tmp_path, "bad", bad),
        job(tmp_path, "after", "true", after=["bad"]),
        job(tmp_path, "later", "true", after=["after"]),
        job(tmp_path, "other", "true"),
    ]
    ended, failures, _ = run(todo)
    assert ended == ["other"]
    assert [(one.job.name, one.reason) for one in failures] == [
        ("bad", "sec.sh: error: no room"),
        ("after", "waits for bad"),
        ("later", "waits for after"),
    ]


@pytest.mark.parametrize("limit", [dict(jobs=1), dict(alone="x"), dict(memory=2)])
def test_one_at_a_time(tmp_path, limit):
    """By the number of jobs, by what only one may use, and where memory is short."""
    flag = tmp_path / "flag"
    script = f"mkdir {flag} && sleep 0.15 && rmdir {flag}"  # fails where another runs
    more = {key: value for key, value in limit.items() if key != "jobs"}
    todo = [job(tmp_path, name, script, **more) for name in "abc"]
    ended, failures, _ = run(todo, limit.get("jobs", 3), free=lambda: 1)
    assert sorted(ended) == ["a", "b", "c"] and failures == []


def test_a_log_that_says_nothing(tmp_path):
    assert why(tmp_path / "none") == "it ended early"
    (tmp_path / "log").write_text(
        "# error: in the command line\nx: error: one\nx: error: two\nsec.sh: error: training ended early\n"
    )
    assert why(tmp_path / "log") == "x: error: two"


def test_memory_of_this_machine():
    assert 1 << 20 < free_memory()


def test_jobs_end_with_their_caller(tmp_path):
    """kill -9 of the caller ends what it has started."""
    code = (
        "from pathlib import Path; from espnet2_secap.process.graph import Job, run_jobs;"
        f"run_jobs([Job('a', ['bash', '-c', 'echo $$ > {tmp_path}/pid; sleep 100'], Path('{tmp_path}/log'))], 1, print)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 30
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    while (Path("/proc") / str(pid)).exists() and " Z " not in (Path("/proc") / str(pid) / "stat").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)

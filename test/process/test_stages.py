"""The record of a run's stages: what is read back from it, and how the table shows it."""

import os
import subprocess
import sys

import pytest
from wrappers import needs_proc

from espnet2_secap.process.processes import resident
from espnet2_secap.process.stages import append, clock, gigabytes, read_stages, table, watch

RECORD = """\
a\t100\tbegin\t5\ttraining, first stage
a\t101\tmemory\t1000000000
b\t101\tbegin\t1\tanother run
a\t102\tmemory\t2500000000
a\t103\tmemory\tcut sho
a\t104
nonsense
a\t4000.4\tbegin\t6\ttraining, second stage
a\t4001\tmemory\t3000000000
a\t4010.2\tend\t1
"""


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "stages.tsv"
    path.write_text(RECORD)
    return path


def test_one_run_is_read_and_bad_lines_are_left_out(record):
    first, second = read_stages(record, "a")
    assert (first.number, first.title, first.start, first.end) == ("5", "training, first stage", 100, 4000.4)
    assert (first.memory, first.status) == (2_500_000_000, 0)
    assert (second.start, second.end, second.memory, second.status) == (4000.4, 4010.2, 3_000_000_000, 1)
    assert [stage.number for stage in read_stages(record, "b")] == ["1"]
    assert read_stages(record, "c") == [] == read_stages(record.with_name("missing"), "a")


def test_table(record):
    assert table(read_stages(record, "a")) == (
        f"stage  {'':44}     wall  peak memory\n"
        f"    5  {'training, first stage':44}  1:05:00      2.50 GB\n"
        "    6  training, second stage (ended with status 1)  0:00:10      3.00 GB\n"
        f"  all  {'':44}  1:05:10      3.00 GB\n"
    )
    assert "n/a" in table(read_stages(record, "b")) and "\n  all" not in table(read_stages(record, "b"))


@pytest.mark.parametrize("seconds, shown", [(0, "0:00:00"), (59.6, "0:01:00"), (3599, "0:59:59"), (90061, "25:01:01")])
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_gigabytes():
    assert (gigabytes(0), gigabytes(10_000_000), gigabytes(78_125_000_000)) == ("n/a", "0.01 GB", "78.12 GB")


def test_what_is_appended_is_read_back_on_one_line(tmp_path):
    append(tmp_path / "s", "run", "begin", 3, "features of\thubert\nand more")
    (stage,) = read_stages(tmp_path / "s", "run")
    assert (stage.number, stage.title) == ("3", "features of?hubert?and more")


@needs_proc
def test_the_sum_over_the_run_s_processes_is_recorded(tmp_path):
    """Two children of 200 MB each belong to the run, a third one does not."""
    append(tmp_path / "s", "run", "begin", 1, "work")
    code = "import time; block = bytearray(200_000_000); print(flush=True); time.sleep(60)"
    environments = [{**os.environ, "SEC_RUN": name} for name in ("run", "run", "other")]
    options = {"stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", code], env=env, **options) for env in environments]
    try:
        for child in children:
            child.stdout.readline()
        sizes = [resident(child.pid) for child in children]
        assert all(200e6 < size < 260e6 for size in sizes)
        watcher = (
            "import os, sys; from espnet2_secap.process.stages import watch; "
            f"watch({str(tmp_path / 's')!r}, 'run', os.getppid(), 0.1)"
        )
        watching = subprocess.Popen([sys.executable, "-c", watcher])
        while read_stages(tmp_path / "s", "run")[0].memory == 0:
            assert watching.poll() is None
        watching.kill()
        watching.wait()
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert 400e6 < read_stages(tmp_path / "s", "run")[0].memory < 520e6


def test_it_does_not_watch_for_a_parent_that_is_gone(tmp_path):
    append(tmp_path / "s", "run", "begin", 1, "work")
    watch(tmp_path / "s", "run", parent=2**22 + 1)
    assert read_stages(tmp_path / "s", "run")[0].memory == 0

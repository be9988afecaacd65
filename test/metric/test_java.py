"""JavaProcess with shell scripts named java: what it sends, and that it neither hangs nor leaves a process."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wrappers import alive, needs_proc

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.java import JavaProcess, coco_jar, find_java

PROGRAMS = ("sh", "sleep", "cat")


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Make a program `java` of this shell script, the only one on PATH."""
    for name in PROGRAMS:
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(script: str) -> None:
        (tmp_path / "java").write_text(f"#!{tmp_path}/sh\n{script}\n")
        (tmp_path / "java").chmod(0o755)

    return make


def test_lines_go_out_and_come_back(java, tmp_path):
    java('echo "$@" > arguments; while read -r line; do echo "1 $line"; echo "2 $line"; done')
    process = JavaProcess(["-jar", "x.jar"], "1G", 30, tmp_path)
    assert process.ask("高兴", answers=2) == ["1 高兴", "2 高兴"]
    assert process.ask("\ud800", answers=2) == ["1 ?", "2 ?"]
    words = (tmp_path / "arguments").read_text().split()
    assert words[0] == "-Xmx1G" and words[-2:] == ["-jar", "x.jar"] and "-Dfile.encoding=UTF-8" in words
    process.close()


@pytest.mark.parametrize(
    "script, reason",
    [
        ("exec sleep 60", "gave no answer within 0.5 s"),
        (
            "echo Picked up JAVA_OPTIONS >&2; echo x >&2; echo java.lang.NoError: bad >&2; exit 1",
            "failed: java.lang.NoError: bad",
        ),
        ("echo java.lang.OutOfMemoryError: heap >&2; exit 3", "ran out of memory"),
        ("kill -9 $$", "failed: killed by signal 9"),
        ("kill -15 $$", "failed: killed by signal 15"),
        ("exit 0", "failed: no output"),
        ("echo x >&2; exit 1", "failed: x"),
        ("echo >&2; echo y >&2; exit 2", "failed: y"),
    ],
)
def test_why_there_is_no_answer(java, script, reason):
    java(script)
    process = JavaProcess([], "1G", 0.5 if "sleep" in script else 30)
    with pytest.raises(MetricUnavailable) as caught:
        process.ask("x")
        process.ask("x")
    assert str(caught.value) == reason


def test_a_request_can_have_its_own_time(java):
    java("read -r line; sleep 1; echo late")
    assert JavaProcess([], "1G", 0.1).ask("x", timeout=30) == ["late"]


def test_a_file_that_cannot_be_executed(java, tmp_path):
    java("")
    (tmp_path / "java").write_text("#!/nowhere/sh\n")
    with pytest.raises(MetricUnavailable, match="does not start: No such file"):
        JavaProcess([], "1G", 1)


@needs_proc
def test_it_ends_with_python_and_with_all_its_children(java, tmp_path):
    java(f"sleep 300 & echo $! > {tmp_path}/child; echo up; wait")
    code = "from espnet2_secap.metric.java import JavaProcess; print(JavaProcess([], '1G', 30).ask('x'), flush=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['up']\n", done.stderr
    child, end = int((tmp_path / "child").read_text()), time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_java_and_no_jar(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailable, match="needs Java"):
        find_java()
    with pytest.raises(MetricUnavailable, match="pycocoevalcap"):
        coco_jar("meteor/none-*.jar")


def test_coco_jar_is_a_file():
    assert Path(coco_jar("meteor/meteor-*.jar")).is_file()

"""utils/run.pl: the call of Kaldi's wrappers, on this machine."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wrappers import refused, said

REPO = Path(__file__).resolve().parents[2]
RUN = str(REPO / "utils/run.pl")


def run(cwd, *args, **env):
    environment = {**os.environ, **env}
    return subprocess.run([RUN, *map(str, args)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


# ---- the call


def test_one_job(tmp_path):
    done = run(tmp_path, "x.log", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert said(tmp_path / "x.log") == "hello\n"


def test_array_of_jobs_and_whole_words(tmp_path):
    done = run(tmp_path, "JOB=2:4", "log/deep/x.JOB.log", "echo", "JOB", "MYJOBS", "JOB_x", "a.JOB.b-JOB/JOB", "of JOB")
    assert done.returncode == 0
    assert sorted(p.name for p in (tmp_path / "log/deep").iterdir()) == ["x.2.log", "x.3.log", "x.4.log"]
    assert said(tmp_path / "log/deep/x.3.log") == "3 MYJOBS JOB_x a.3.b-3/3 of 3\n"


def test_other_names_and_a_single_number(tmp_path):
    assert run(tmp_path, "n_1=7", "x.log", "echo", "n_1", "n_12").returncode == 0
    assert said(tmp_path / "x.log") == "7 n_12\n"


def test_options_before_and_after(tmp_path):
    options = ["--mem", "8G", "--time", "1:00:00", "--num-threads", "2"]
    more = ["--name", "x", "--num_nodes", "1", "--gpu", "0", "--max-jobs-run", "1", "--config", "conf/slurm.conf"]
    done = run(tmp_path, *options, "J=1:2", *more, "x.J.log", "echo", "--mem", "J")
    assert done.returncode == 0, done.stderr
    assert said(tmp_path / "x.2.log") == "--mem 2\n"


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["JOB=0:3", "x.JOB.log", "true"], "JOB=0:3"),
        (["JOB=3:1", "x.JOB.log", "true"], "JOB=3:1"),
        (["JOB=a:b", "x.JOB.log", "true"], "JOB=a:b"),
        (["JOB=", "x.JOB.log", "true"], "JOB="),
        (["JOB=1:2:3", "x.JOB.log", "true"], "JOB=1:2:3"),
        (["JOB=1:2", "N=1:2", "x.JOB.log", "true"], "N=1:2"),
        (["JOB=1:2", "x.log", "true"], "x.log"),
        (["JOB=1:2", "x.MYJOBS.log", "true"], "x.MYJOBS.log"),
        (["--mem"], "--mem"),
        (["--mem", "--gpu", "1", "x.log", "true"], "--mem"),
        (["--mem=8G", "x.log", "true"], "--mem=8G"),
        (["--max-jobs-run", "0", "x.log", "true"], "max_jobs_run"),
        (["--gpu", "one", "x.log", "true"], "gpu"),
        (["--num_nodes", "2", "x.log", "true"], "num_nodes"),
        (["x.log"], "COMMAND"),
        ([], "LOG"),
    ],
)
def test_bad_calls(tmp_path, args, named):
    assert named in refused(run(tmp_path, *args), "run.pl")
    assert list(tmp_path.iterdir()) == []


def test_log_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file" in refused(run(tmp_path, "file/x.log", "true"), "run.pl")
    (tmp_path / "folder.log").mkdir()
    done = run(tmp_path, "folder.log", "touch", "ran")
    assert done.returncode == 1 and "folder.log" in done.stderr and not (tmp_path / "ran").exists()


def test_help(tmp_path):
    done = run(tmp_path, "--help")
    assert done.returncode == 0 and "--max_jobs_run" in done.stdout


# ---- quoting

SHOW = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.mark.parametrize(
    "arg",
    [
        "two words",
        "it's",
        "'",
        '"',
        'a "quoted  word"',
        "$(touch evil)",
        "$(touch${IFS}evil)",
        "`touch evil`",
        "`touch${IFS}evil`",
        "a $HOME b",
        "$1",
        "$5.00",
        "back\\slash",
        "ends with \\",
        "line one\nline two\n\n",
        "\ttab",
        "",
        " ",
        "中文，语速较快",
        '情绪 高兴\'s "x" $(touch evil)',
        '{"a":1,"b":[2]}',
        "{lr:0.1,beta:2}",
        "#no-comment",
        "a&b",
        "http://x/?a=1&b=2",
        "a;b",
        "a|b",
        "a>b",
        "f(1).wav",
        "(x|y)",
        "x=y",
        "--freeze",
        "[1,2]",
        "100%",
        "!",
    ],
)
def test_arguments_to_the_letter(tmp_path, arg):
    done = run(tmp_path, "x.log", sys.executable, "-c", SHOW, "first", arg, "last")
    assert done.returncode == 0, done.stderr
    assert json.loads(said(tmp_path / "x.log")) == ["first", arg, "last"]
    assert not (tmp_path / "evil").exists()


def test_shell_syntax_without_white_space(tmp_path):
    args = ["echo", "one", "|", "cat", ">", "out.JOB", "&&", "echo", "$WORD", "${WORD}s", ">>out.JOB", "2>/dev/null"]
    assert run(tmp_path, "JOB=1:2", "x.JOB.log", *args, WORD="a  b").returncode == 0
    assert (tmp_path / "out.2").read_text() == "one\na b a bs\n"
    assert said(tmp_path / "x.2.log") == ""


def test_variable_value_is_not_evaluated(tmp_path):
    assert run(tmp_path, "x.log", "echo", "$WORD", WORD="$(touch evil)").returncode == 0
    assert said(tmp_path / "x.log") == "$(touch evil)\n" and not (tmp_path / "evil").exists()


def test_subshell_semicolon_and_streams(tmp_path):
    args = ["(", "echo", "a;", "echo", "b", ";", "ls", "/nowhere-at-all", ")", "2>&1", "|", "sort", "<", "/dev/stdin"]
    run(tmp_path, "x.log", *args)
    assert {"a", "b"} <= set(said(tmp_path / "x.log").split())
    assert "nowhere-at-all" in said(tmp_path / "x.log")


def test_globs_are_the_job_s(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    run(tmp_path, "x.log", "echo", "*.txt")
    assert said(tmp_path / "x.log") == "a.txt b.txt\n"


def test_script_as_one_argument(tmp_path):
    run(tmp_path, "JOB=1:2", "x.JOB.log", "bash", "-c", "for i in 1 2; do echo \"$i\" 'JOB' >&2; done")
    assert said(tmp_path / "x.2.log") == "1 2\n2 2\n"


def test_stdin_is_empty(tmp_path):
    done = subprocess.run(
        [RUN, "x.log", "wc", "-c"], cwd=tmp_path, input="data", text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0 and said(tmp_path / "x.log").strip() == "0"


# ---- logs and failures


def test_header_and_footer(tmp_path):
    run(tmp_path, "x.log", "echo", "a b", "$HOME")
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert lines[0] == "# echo 'a b' $HOME"
    assert re.fullmatch(r"# Started at .*\d\d:\d\d:\d\d.*", lines[1]) and lines[2] == "#"
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[-2])
    assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", lines[-1])


def test_header_of_several_lines_is_comment(tmp_path):
    run(tmp_path, "x.log", "echo", "one\ntouch evil\n")
    assert said(tmp_path / "x.log") == "one\ntouch evil\n\n"


def test_log_is_made_anew(tmp_path):
    run(tmp_path, "x.log", "echo", "old")
    run(tmp_path, "x.log", "echo", "new")
    assert said(tmp_path / "x.log") == "new\n"


def test_failures_are_counted_and_all_jobs_run(tmp_path):
    script = 'touch ran.JOB; if [ JOB = 2 ] || [ JOB = 4 ]; then echo "cannot do JOB" >&2; exit 3; fi'
    done = run(tmp_path, "JOB=1:5", "log/x.JOB.log", "bash", "-c", script)
    assert done.returncode == 1
    assert "run.pl: 2 / 5 failed, log is in log/x.*.log (JOB: 2 4)" in done.stderr.splitlines()
    assert re.search(r"^log/x\.[24]\.log: cannot do [24]$", done.stderr, re.M)
    assert len(list(tmp_path.glob("ran.*"))) == 5
    assert "# Ended (code 3) at" in (tmp_path / "log/x.4.log").read_text()


def test_failure_of_one(tmp_path):
    done = run(tmp_path, "x.log", "false")
    assert done.returncode == 1 and done.stderr == "run.pl: 1 / 1 failed, log is in x.log\n"


def test_killed_job(tmp_path):
    done = run(tmp_path, "x.log", "bash", "-c", "kill -9 $$")
    assert done.returncode == 1
    assert "# Ended (code 137; signal 9) at" in (tmp_path / "x.log").read_text()


def test_missing_program(tmp_path):
    done = run(tmp_path, "x.log", "no-such-program")
    assert done.returncode == 1 and "no-such-program" in done.stderr
    assert "(code 127)" in (tmp_path / "x.log").read_text()


def test_failure_before_a_pipe_counts(tmp_path):
    assert run(tmp_path, "x.log", "false", "|", "cat").returncode == 1


# ---- how many at a time

# A job waits until as many run as are expected, then looks a moment longer whether there are more.
BUSY = """
import pathlib, sys, time
here, want, most, end = pathlib.Path("busy"), int(sys.argv[2]), 0, time.monotonic() + 10
(here / sys.argv[1]).touch()
while most < want and time.monotonic() < end:
    most = max(most, len(list(here.iterdir())))
    time.sleep(0.01)
for _ in range(20):
    most = max(most, len(list(here.iterdir())))
    time.sleep(0.01)
(here / sys.argv[1]).unlink()
print(most)
"""


def most_at_a_time(tmp_path, want, *options, **env):
    (tmp_path / "busy").mkdir()
    command = [sys.executable, "-c", BUSY, "JOB", want]
    done = run(tmp_path, *options, f"JOB=1:{2 * want}", "x.JOB.log", *command, **env)
    assert done.returncode == 0, done.stderr
    return max(int(said(log)) for log in tmp_path.glob("x.*.log"))


def test_max_jobs_run(tmp_path):
    assert most_at_a_time(tmp_path, 3, "--max-jobs-run", 3) == 3


def test_as_many_as_cpus_whatever_omp_says(tmp_path):
    cpus = len(os.sched_getaffinity(0))
    assert most_at_a_time(tmp_path, cpus, OMP_NUM_THREADS="1") == cpus


def test_low_overhead(tmp_path):
    start = time.monotonic()
    assert run(tmp_path, "JOB=1:20", "--max-jobs-run", 1, "x.JOB.log", "true").returncode == 0
    assert (time.monotonic() - start) / 20 < 0.3


def test_num_threads(tmp_path):
    run(tmp_path, "--num_threads", 3, "x.log", "echo", "$OMP_NUM_THREADS")
    assert said(tmp_path / "x.log") == "3\n"
    assert "threads=3" in (tmp_path / "x.log").read_text()


# ---- GPUs


def test_each_job_its_own_gpu(tmp_path):
    script = (
        "echo $CUDA_VISIBLE_DEVICES; mkdir lock.$CUDA_VISIBLE_DEVICES && sleep 0.1 && rmdir lock.$CUDA_VISIBLE_DEVICES"
    )
    done = run(tmp_path, "--gpu", 1, "J=1:6", "x.J.log", "bash", "-c", script, CUDA_VISIBLE_DEVICES="3,5,GPU-ab")
    assert done.returncode == 0, done.stderr
    seen = [said(tmp_path / f"x.{j}.log").strip() for j in range(1, 7)]
    assert sorted(seen[:3]) == ["3", "5", "GPU-ab"] and set(seen) == {"3", "5", "GPU-ab"}


def test_several_gpus_per_job(tmp_path):
    assert most_at_a_time(tmp_path, 2, "--gpu", 2, CUDA_VISIBLE_DEVICES="0,1,2,3,4") == 2


def test_gpus_from_nvidia_smi(tmp_path):
    """The listing is what nvidia-smi -L prints, on a machine with slices (MIG) of its second card."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\ncat <<E\nGPU 0: NVIDIA H200 (UUID: GPU-11)\nGPU 1: NVIDIA H200 (UUID: GPU-22)\n"
        "  MIG 1g.18gb     Device  0: (UUID: MIG-33)\n  MIG 1g.18gb     Device  1: (UUID: MIG-44)\nE\n"
    )
    tool.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    env["PATH"] = f"{tool.parent}:{env['PATH']}"
    subprocess.run(
        [RUN, "--gpu", "1", "J=1:3", "x.J.log", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 0.3"],
        cwd=tmp_path,
        env=env,
        check=True,
        timeout=60,
    )
    assert sorted(said(tmp_path / f"x.{j}.log").strip() for j in (1, 2, 3)) == ["0", "MIG-33", "MIG-44"]


def test_too_few_gpus(tmp_path):
    message = refused(run(tmp_path, "--gpu", 2, "x.log", "true", CUDA_VISIBLE_DEVICES="0"), "run.pl")
    assert "--gpu 2" in message and "1 GPUs" in message


def test_without_gpu_the_variable_stays(tmp_path):
    run(tmp_path, "--gpu", 0, "x.log", "echo", "$CUDA_VISIBLE_DEVICES", CUDA_VISIBLE_DEVICES="1,0")
    assert said(tmp_path / "x.log") == "1,0\n"


@pytest.mark.needs("espnet")
def test_espnet_launcher(tmp_path):
    """How training is started: espnet2.bin.launch chooses by the wrapper's name, and hands it --gpu and the log."""
    done = subprocess.run(
        [sys.executable, "-m", "espnet2.bin.launch", "--cmd", f"{RUN} --name x", "--log", "train.log", "--ngpu", "0"]
        + ["--", "echo", "two words", "it's"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert said(tmp_path / "train.log").startswith("two words it's --ngpu 0")

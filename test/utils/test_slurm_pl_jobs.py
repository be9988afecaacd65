"""utils/slurm.pl on a real Slurm: jobs, arrays, their options, environment and logs."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from wrappers import REPO, SlurmCalls

pytestmark = pytest.mark.slow(3)

SHOW = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.fixture
def calls(slurm, tmp_path):
    return SlurmCalls(slurm, tmp_path)


def test_one_job(calls):
    assert calls.run("log/x.log", "echo", "hello") == (0, "")
    lines = (calls.folder / "log/x.log").read_text().splitlines()
    assert lines[0] == "# echo hello"
    assert re.fullmatch(r"# Running on n[12] as Slurm job \d+", lines[1])
    assert re.fullmatch(r"# Started at .*\d\d:\d\d:\d\d.*", lines[2]) and lines[3:5] == ["#", "hello"]
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[5])
    assert re.fullmatch(r"# Finished at .*\d\d:\d\d:\d\d.* with status 0", lines[6])
    assert calls.left() == [] and len(lines) == 7


ARGUMENTS = ["two words", "it's", "'", '"', 'a "b  c"', "$(touch evil)", "$(touch${IFS}evil)", "`touch evil`", "$1"]
ARGUMENTS += ["a $HOME b", "back\\slash", "ends with \\", "one\ntwo\n\n", "\ttab", "", " ", "中文，语速较快", "{a,b}"]
ARGUMENTS += ['情绪 高兴\'s "x" $(touch evil)', '{"a":1,"b":[2]}', "--freeze", "100%", "!", "f(1).wav"]
ARGUMENTS += ["#no", "a&b", "& \\0", "of JOB", "MYJOBS", "JOB_x", "a.JOB.b-JOB", "JOB's", "$JOB x"]


def test_arguments_to_the_letter(calls):
    command = ["log 中文's/x JOB.log", sys.executable, "-c", SHOW, *ARGUMENTS]
    assert calls.run("JOB=9:10", *command) == (0, "")
    for number in (9, 10):
        expected = [re.sub(r"\bJOB\b", str(number), word) for word in ARGUMENTS]
        assert json.loads(calls.said(f"log 中文's/x {number}.log")) == expected
    assert not (calls.folder / "evil").exists()


def test_shell_syntax(calls):
    command = ["echo", "one", "|", "cat", ">", "out.JOB", "&&", "echo", "${HOME}s", ">>out.JOB", "2>/dev/null"]
    assert calls.run("JOB=1:2", "log/x.JOB.log", *command) == (0, "")
    assert (calls.folder / "out.2").read_text() == f"one\n{os.environ['HOME']}s\n"


def test_single_number_and_failure_before_a_pipe(calls):
    status, err = calls.run("JOB=7", "log/x.JOB.log", "bash", "-c", "echo why JOB; exit 3", "|", "cat")
    assert status == 1 and calls.said("log/x.7.log") == "why 7\n"
    assert err == "slurm.pl: 1 / 1 failed, log is in log/x.7.log (FAILED, code 3)\nlog/x.7.log: why 7\n"


def test_one_failure_in_an_array(calls):
    status, err = calls.run("JOB=1:3", "log/x.JOB.log", "bash", "-c", "echo I am JOB; [ JOB != 2 ]")
    assert status == 1
    lines = err.splitlines()
    if "waiting for the others" in lines[0]:  # if they had not all ended
        assert re.fullmatch(r"slurm.pl: job \d+_2: FAILED, code 1, log is in log/x.2.log; waiting.*", lines.pop(0))
    expected = "slurm.pl: 1 / 3 failed, log is in log/x.*.log (JOB: 2 FAILED, code 1)"
    assert lines == [expected, "log/x.2.log: I am 2"]
    assert [calls.said(f"log/x.{n}.log") for n in (1, 2, 3)] == ["I am 1\n", "I am 2\n", "I am 3\n"]
    assert calls.left() == []


def test_max_jobs_run(calls):
    script = "mkdir busy.JOB; ls -d busy.* | wc -l; sleep 0.5; rmdir busy.JOB"
    assert calls.run("--max-jobs-run", 2, "JOB=1:4", "log/x.JOB.log", "bash", "-c", script) == (0, "")
    assert max(int(calls.said(f"log/x.{n}.log")) for n in range(1, 5)) <= 2
    assert "--array" not in (calls.folder / "log/q/x.JOB.sh").read_text()


def test_num_threads_and_name(calls):
    show = "echo $OMP_NUM_THREADS $SLURM_CPUS_PER_TASK $SLURM_JOB_NAME; srun sh -c 'echo $SLURM_CPUS_PER_TASK'"
    assert calls.run("--num_threads", 2, "--name", "my name", "log/x.log", "bash", "-c", show) == (0, "")
    assert calls.said("log/x.log") == "2 2 my name\n2\n"
    assert "threads=2" in (calls.folder / "log/x.log").read_text()


def test_gpus(calls):
    show = "echo $SLURM_JOB_PARTITION $CUDA_VISIBLE_DEVICES"
    assert calls.run("--gpu", 2, "log/x.log", "bash", "-c", show) == (0, "")
    assert calls.said("log/x.log") == "gpu 0,1\n"
    assert calls.run("--gpu", 0, "log/x.log", "bash", "-c", show) == (0, "")
    assert calls.said("log/x.log") == "cpu\n"


def test_two_nodes(calls):
    (calls.folder / "path.sh").write_text("export MINE=set\n")
    command = ["srun", "bash", "-c", "echo $SLURMD_NODENAME $SLURM_PROCID $MINE it\\'s"]
    assert calls.run("--num_nodes", 2, "log/x.log", *command) == (0, "")
    assert sorted(calls.said("log/x.log").splitlines()) == ["n1 0 set it's", "n2 1 set it's"]
    status, err = calls.run("--num_nodes", 2, "log/x.log", "srun", "bash", "-c", "exit $((SLURM_PROCID * 3))")
    assert status == 1 and "(FAILED, code 3)" in err


def test_environment(calls):
    (calls.folder / "path.sh").write_text("line=mine log=mine\nexport FROM_PATH='a  b' OMP_NUM_THREADS=7\n")
    show = 'echo "$HF_HOME|$HF_HUB_OFFLINE|$HF_TOKEN|$FROM_PATH|$OMP_NUM_THREADS|$PWD"'
    mine = {"HF_HOME": "/my models", "HF_HUB_OFFLINE": "1", "HF_TOKEN": "secret"}
    assert calls.run("log/x.log", "bash", "-c", show, **mine) == (0, "")
    assert calls.said("log/x.log") == f"/my models|1||a  b|1|{calls.folder}\n"
    assert not any(b"secret" in path.read_bytes() for path in calls.folder.rglob("*") if path.is_file())
    conf = (calls.folder / "conf/slurm.conf").read_text().replace("default num_threads=1\n", "")
    (calls.folder / "conf/slurm.conf").write_text(conf)
    assert calls.run("log/x.log", "bash", "-c", "echo $OMP_NUM_THREADS") == (0, "")
    assert calls.said("log/x.log") == "7\n", "without a number of threads, path.sh's counts"


def test_the_folder_keeps_the_caller_s_name(calls):
    """Where a link of this machine leads to may not be there on the nodes."""
    link = calls.folder.parent / "link"
    link.symlink_to(calls.folder)
    assert calls.run("log/x.log", "bash", "-c", "echo $PWD $SLURM_JOB_NAME", PWD=str(link)) == (0, "")
    assert calls.said("log/x.log") == f"{link} x.sh\n"


@pytest.mark.parametrize("text", ["echo path.sh: no venv >&2; return 1", "echo path.sh: no venv; exit 0", "no_venv_"])
def test_a_failing_path_sh(calls, text):
    (calls.folder / "path.sh").write_text(f"{text}\n")
    status, err = calls.run("log/x.log", "touch", "ran")
    assert status == 1 and "no venv" in calls.said("log/x.log").replace("_", " ")
    assert "slurm.pl: error: ./path.sh failed, see above" in err
    assert not (calls.folder / "ran").exists()


@pytest.mark.needs("venv")
def test_the_recipe_s_own_files(calls):
    """TEMPLATE's conf/slurm.conf and path.sh, with names of the user's shell, a time and an OMP_NUM_THREADS."""
    template = REPO / "egs2/TEMPLATE/sec1"
    shutil.copy(template / "conf/slurm.conf", calls.folder / "conf")
    (calls.folder / "path.sh").write_text(f". {template}/path.sh\n")
    show = 'echo "$HF_HOME|$TRANSFORMERS_OFFLINE|$OMP_NUM_THREADS"; '
    show += 'python3 -c "import espnet2_secap as p; print(p.__file__)"'
    mine = {"HF_HOME": "/my models", "TRANSFORMERS_OFFLINE": "1"}
    options = ["--mem", "1G", "--time", "1:00:00", "--num_threads", 2, "--num_nodes", 1, "--gpu", 0, "--name", "x"]
    assert calls.run(*options, "--max_jobs_run", 1, "log/x.log", "bash", "-c", show, **mine) == (0, "")
    assert calls.said("log/x.log") == f"/my models|1|2\n{REPO}/espnet2_secap/__init__.py\n"


@pytest.mark.needs("espnet")
def test_the_launcher_of_espnet_on_two_nodes(calls):
    """It chooses srun by the name slurm.pl, and gives --gpu, --num_threads and --num_nodes."""
    launch = [sys.executable, "-m", "espnet2.bin.launch", "--cmd", f"{REPO}/utils/slurm.pl --name x", "--ngpu", "0"]
    launch += ["--log", "log/train.log", "--num_nodes", "2", "--", "echo", "it's", "two words"]
    done = subprocess.run(launch, cwd=calls.folder, env=calls.cluster.env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = calls.said("log/train.log").splitlines()
    assert len(lines) == 2 and all(line.startswith("it's two words --ngpu 0 --multiproc") for line in lines)


# ---- what sbatch refuses


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--partition", "nowhere"], "invalid partition specified: nowhere"),
        (["--wrong", "x"], "unrecognized option '--no-such-option'"),
        (["--gpu", "9"], "Requested node configuration is not available"),
        (["--mem", "lots"], "Invalid --mem specification"),
        (["JOB=1:2000"], "Invalid job array specification"),
    ],
)
def test_refused_by_sbatch(calls, options, named):
    status, err = calls.run(*options, "log/x.JOB.log", "true")
    assert status == 1 and err.startswith("slurm.pl: error: sbatch failed: ") and err.count("\n") == 1
    assert named in err
    assert [path.name for path in calls.folder.iterdir()] == ["conf"], "nothing is left behind"


def test_the_folder_must_be_there(calls):
    (calls.folder / "log").write_text("a file")
    status, err = calls.run("log/x.log", "true")
    assert status == 1 and "cannot make folder 'log" in err and err.count("\n") == 1
    assert (calls.folder / "log").read_text() == "a file"


# ---- the end of Slurm itself: the last test


def test_a_job_that_slurm_forgot(calls):
    wrapper = calls.start("JOB=1:2", "log/x.JOB.log", "bash", "-c", "echo begun; sleep 300")
    calls.running("log/x.1.log")
    calls.cluster.kill("slurmctld")
    calls.cluster.call(["slurmctld", "-c"])  # forgets all
    status, err = calls.end(wrapper, 60)
    assert status == 1
    assert "(JOB: 1 LOST: Slurm no longer knows it; 2 LOST: Slurm no longer knows it)" in err
    assert "log/x.1.log: begun\n" in err

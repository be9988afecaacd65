"""utils/slurm.pl on a real Slurm: what happens to a job is noticed; signals; killed and called again; run again.

Each test that measures stands for the promise of 15 s: see SlurmCalls.noticed.
"""

import re
import shutil
import signal
import subprocess
import time

import pytest
from wrappers import SAVING, SlurmCalls, alive, wait_until

pytestmark = pytest.mark.slow(6)

WAIT = ["bash", "-c", "echo begun $$; sleep 300"]


@pytest.fixture
def calls(slurm, tmp_path):
    return SlurmCalls(slurm, tmp_path)


@pytest.fixture(scope="module", autouse=True)
def out_of_time(slurm, tmp_path_factory):
    """Two jobs with a time limit of a minute, the least there is; started before all tests, looked at by the last.

    The first is warned some seconds before, and has a child that does not care. The second saves its state at the end.
    They have the node that no test sets down.
    """
    calls = SlurmCalls(slurm, tmp_path_factory.mktemp("out_of_time"))
    (calls.folder / "conf/slurm.conf").write_text(
        "command sbatch --nodelist=n2 --time=1 --signal=B:USR1@20 --export=PATH\n"
    )
    script = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: print('warned', flush=True))\n"
    script += "print('begun', flush=True)\nwhile True: time.sleep(1)"
    wrappers = [
        calls.start("log/x.log", "sleep", "301", "&", "python3", "-c", script),
        calls.start("log/y.log", "python3", "-c", SAVING.replace('"SIGUSR1", ', "")),
    ]
    yield calls, wrappers
    for wrapper in wrappers:
        wrapper.kill()
        wrapper.wait()


# ---- noticed


def test_scancel_of_one_task(calls):
    wrapper = calls.start("JOB=1:2", "log/x.JOB.log", "bash", "-c", "echo begun; [ JOB = 1 ] || sleep 300; sleep 3")
    task = calls.running("log/x.2.log")
    assert task.endswith("_2")
    calls.cluster.call(["scancel", task])
    status, err = calls.noticed(wrapper)
    assert status == 1 and "slurm.pl: 1 / 2 failed, log is in log/x.*.log (JOB: 2 CANCELLED, code 143)\n" in err
    assert "\nlog/x.2.log: begun\n" in err and re.search("\nSlurm: slurmstepd.*CANCELLED AT", err)
    assert "with status 143" in (calls.folder / "log/x.2.log").read_text()


def test_scancel_while_waiting(calls):
    wrapper = calls.start("--begin", "now+1hour", "log/x.log", "true")
    calls.cluster.call(["scancel", calls.job()])
    status, err = calls.noticed(wrapper)
    assert status == 1 and err.startswith("slurm.pl: 1 / 1 failed, log is in log/x.log (CANCELLED")
    assert calls.left() == []


def test_kill_of_the_script(calls):
    """It leaves no status file."""
    wrapper = calls.start("log/x.log", "echo", "begun;", "kill", "-9", "$PPID;", "sleep", "300")
    calls.running("log/x.log")
    status, err = calls.noticed(wrapper)
    assert status == 1 and re.search(r"1 / 1 failed, log is in log/x.log \(FAILED", err), err
    assert "log/x.log: begun\n" in err


def node_down(calls, *options) -> subprocess.Popen:
    """Start a job with more options of sbatch, and set its node down, as an administrator does; the node comes back."""
    conf = calls.folder / "conf/slurm.conf"
    conf.write_text(conf.read_text().replace("sbatch ", f"sbatch {' '.join(options)} --nodelist=n1 "))
    wrapper = calls.start("log/x.log", "bash", "-c", "echo begun; [ -e again ] || { touch again; sleep 300; }")
    calls.running("log/x.log")
    calls.cluster.call(["scontrol", "update", "nodename=n1", "state=down", "reason=test"])
    return wrapper


def test_node_down(calls):
    status, err = calls.noticed(node_down(calls, "--no-requeue"))
    assert status == 1 and "1 / 1 failed, log is in log/x.log (NODE_FAIL" in err
    assert "log/x.log: begun" in err


def test_node_down_and_run_again(calls):
    """The way of Slurm where nothing else is asked for: the job is queued again, and its log goes on."""
    status, err = calls.end(node_down(calls))
    assert status == 0, err
    assert calls.said("log/x.log").replace("Terminated\n", "") == "begun\nbegun\n"
    assert "# Started again by Slurm, time 1\n" in (calls.folder / "log/x.log").read_text()


def test_node_drained(calls):
    """What runs there comes to its end; what is queued waits, and goes on when the node is back."""
    call = calls.cluster.call
    call(["scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test"])
    wrapper = calls.start("log/x.log", "echo", "hello")
    assert calls.states(calls.job()) == ["PENDING"]
    time.sleep(4)
    assert wrapper.poll() is None, "waiting is no failure"
    call(["scontrol", "update", "nodename=n1,n2", "state=resume"])
    assert calls.end(wrapper, 60) == (0, "")


@pytest.mark.parametrize(
    ("options", "change", "reason"),
    [
        (["--gpu", "1", "--time", "10:00:00"], None, "PartitionTimeLimit"),
        (["--begin", "now+1hour"], "hold", "JobHeldAdmin"),
    ],
)
def test_a_job_that_can_never_start(calls, options, change, reason):
    wrapper = calls.start(*options, "JOB=1:2", "log/x.JOB.log", "true")
    job = calls.job("x.JOB")
    if change:
        calls.cluster.call(["scontrol", "update", f"jobid={job}", "priority=0"])
    status, err = calls.noticed(wrapper)
    assert status == 1 and "slurm.pl: 2 / 2 failed" in err
    assert f"JOB: 1 can never start: {reason}; cancelled; 2 can never start" in err
    assert set(calls.states(job)) == {"CANCELLED"} and calls.left() == []


def test_held_by_the_user_is_no_failure(calls):
    wrapper = calls.start("--hold", "yes", "log/x.log", "true")
    job = calls.job()
    time.sleep(5)
    assert wrapper.poll() is None and calls.states(job) == ["PENDING"]
    calls.cluster.call(["scontrol", "release", job])
    assert calls.end(wrapper) == (0, "")


def test_a_controller_that_does_not_answer_is_no_lost_job(calls):
    wrapper = calls.start("log/x.log", "bash", "-c", "echo begun; until [ -e go ]; do sleep 0.1; done")
    calls.running("log/x.log")
    calls.cluster.kill("slurmctld")
    line = wrapper.stderr.readline()
    assert re.match(r"slurm.pl: Slurm does not answer \(.*Unable to contact.*\); still waiting\n", line), line
    calls.cluster.call(["slurmctld"])
    assert wrapper.stderr.readline() == "slurm.pl: Slurm answers again\n"
    (calls.folder / "go").touch()
    assert calls.end(wrapper) == (0, "")


# ---- signals to the wrapper


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL of the run"])
def test_a_signal_cancels_the_jobs(calls, name):
    run = subprocess.Popen(["sleep", "300"])
    wrapper = calls.start("JOB=1:3", "log/x.JOB.log", *WAIT, SEC_RUN_PID=str(run.pid))
    job = calls.running("log/x.1.log").split("_")[0]
    calls.running("log/x.2.log")
    pid = int(calls.said("log/x.1.log").split()[1])
    assert alive(pid) and wrapper.poll() is None
    if name == "SIGKILL of the run":
        run.kill()
        run.wait()
        name = "the end of the run that started it"
    else:
        wrapper.send_signal(getattr(signal, name))
    status, err = calls.noticed(wrapper)
    run.kill()
    run.wait()
    assert (status, err) == (2, f"slurm.pl: stopped by {name}, job {job} cancelled, log is in log/x.*.log\n")
    assert [calls.queue()[f"{job}_{n}"] for n in (1, 2, 3)] == ["CANCELLED"] * 3
    assert not alive(pid) and [left for left in calls.left() if not left.endswith(".out")] == []


EARLY_STATUS = """
if [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then
    echo 143 0 > log/q/x.1.status
    sleep 2 # slurm.pl looks at least once a second, and asks more often from then on
    scontrol requeue ${SLURM_JOB_ID}
    sleep 300
fi
echo begun ${SLURM_RESTART_COUNT}
"""


def test_the_end_of_a_start_that_slurm_repeats_is_not_the_job_s(calls):
    """The command can be dead of Slurm's TERM before the script hears that it is to be queued again."""
    status, err = calls.run("log/x.log", "bash", "-c", EARLY_STATUS)
    assert status == 0 and re.fullmatch(r"slurm.pl: job \d+ is requeued.* and will continue\n", err), err
    assert calls.said("log/x.log").endswith("begun 1\n")


SLOW_SQUEUE = """#!/usr/bin/env bash
while answer=$({squeue} "$@"); [[ ${{answer}} = *\\|PENDING\\|* ]]; do sleep 0.1; done
printf '%s\\n' "${{answer}}"
"""


def test_a_second_start_that_no_query_sees_waiting(calls):
    """The code of the first start is not the job's all the same."""
    squeue = calls.folder / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text(SLOW_SQUEUE.format(squeue=shutil.which("squeue")))
    squeue.chmod(0o755)
    path = f"{squeue.parent}:{calls.cluster.env['PATH']}"
    assert calls.run("log/x.log", "bash", "-c", EARLY_STATUS, PATH=path) == (0, "")
    assert calls.said("log/x.log").endswith("begun 1\n")


def test_called_again_after_a_kill(calls):
    wrapper = calls.start("JOB=1:2", "log/x.JOB.log", *WAIT)
    job = calls.running("log/x.1.log").split("_")[0]
    pid = int(calls.said("log/x.1.log").split()[1])
    wrapper.kill()
    wrapper.wait()
    assert alive(pid)
    again = calls.run(
        "JOB=1:2", "log/x.JOB.log", "bash", "-c", f"! ps -o stat= -p {pid} | grep '^[^Z]'; echo status $?"
    )
    assert again == (0, f"slurm.pl: job {job} of an earlier call for this log still runs: cancelling it\n")
    assert "status 0" in calls.said("log/x.1.log")
    assert [name for name in calls.left() if not name.endswith(".out")] == []


def test_called_again_when_the_number_is_another_s(calls):
    """A job's number that was given anew, after Slurm lost its memory, is not ours to cancel."""
    other = calls.start("log/other.log", *WAIT)
    job = calls.running("log/other.log")
    (calls.folder / "log/q/x.jobid").write_text(f"{job}\n")
    assert calls.run("log/x.log", "true") == (0, "")
    assert calls.queue()[job] == "RUNNING"
    other.terminate()
    assert calls.end(other)[0] == 2


# ---- run again


def test_status_99_runs_the_task_again(calls):
    """Of an array, only that one task: the last one bears the array's own number."""
    command = ["[", "JOB", "=", "1", "]", "||", "python3", "-c", SAVING, "at once"]
    status, err = calls.run("JOB=1:2", "log/x.JOB.log", *command)
    assert status == 0 and err.count("is requeued") <= 1
    lines = (calls.folder / "log/x.2.log").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("begun")] == ["0", "1"]
    assert sum("with status 99: asking Slurm to run the job again" in line for line in lines) == 1
    assert lines[-1].endswith("with status 0")
    assert "# Started again" not in (calls.folder / "log/x.1.log").read_text()
    assert calls.left() == []


def test_the_warning_reaches_srun_s_tasks_and_runs_the_job_again(calls):
    """As before a time limit: --signal=B:USR1@120 in conf/slurm.conf."""
    wrapper = calls.start("--num_nodes", 2, "log/x.log", "srun", "python3", "-c", SAVING)
    assert wait_until(
        lambda: (log := calls.folder / "log/x.log").exists() and log.read_text().count("\nbegun") == 2, 30
    )
    job = calls.running("log/x.log")
    calls.cluster.call(["scancel", "--batch", "--signal=USR1", job])
    assert calls.end(wrapper, 60)[0] == 0
    text = calls.said("log/x.log")
    assert text.count("saved at SIGUSR1") == 2 and len(re.findall("^begun 1", text, re.MULTILINE)) == 2


def test_the_warning_does_not_end_what_has_no_handler(calls):
    wrapper = calls.start(
        "log/x.log", "bash", "-c", "echo begun; python3 -c 'import time; time.sleep(2)'; echo unharmed"
    )
    job = calls.running("log/x.log")
    time.sleep(0.5)
    calls.cluster.call(["scancel", "--batch", "--signal=USR1", job])
    assert calls.end(wrapper) == (0, "")
    assert calls.said("log/x.log") == "begun\nunharmed\n"


def test_a_cancelled_job_is_not_run_again(calls):
    """It has saved on TERM and says 99; RequeueExit=99 of this Slurm must not bring it back either."""
    wrapper = calls.start("log/x.log", "python3", "-c", SAVING)
    job = calls.running("log/x.log")
    calls.cluster.call(["scancel", job])
    status, err = calls.noticed(wrapper)
    assert status == 1 and "(CANCELLED, code 99)" in err and "saved at SIGTERM" in err
    time.sleep(1)
    assert calls.queue()[job] == "CANCELLED"


def test_requeued_by_somebody_else(calls):
    """By an administrator, or for a job of higher rank: it gets TERM, and is no failure."""
    wrapper = calls.start("log/x.log", "python3", "-c", SAVING)
    job = calls.running("log/x.log")
    calls.cluster.call(["scontrol", "requeue", job])
    status, err = calls.end(wrapper, 60)
    assert status == 0, err
    text = (calls.folder / "log/x.log").read_text()
    assert "saved at SIGTERM" in text and "with status 99: Slurm runs the job again" in text and "begun 1" in text


def test_time_limit(out_of_time):
    calls, (wrapper, _) = out_of_time
    status, err = calls.end(wrapper, 150)
    assert status == 1 and "1 / 1 failed, log is in log/x.log (TIMEOUT" in err
    assert "log/x.log: warned\n" in err and "DUE TO TIME LIMIT" in err
    assert not subprocess.run(["pgrep", "-f", "^sleep 301$"], capture_output=True).stdout


def test_saved_at_the_time_limit(out_of_time):
    calls, (_, wrapper) = out_of_time
    status, err = calls.end(wrapper, 60)
    assert status == 0, err
    lines = calls.said("log/y.log").splitlines()
    assert lines[0].startswith("begun 0") and "saved at SIGTERM" in lines and lines[-1].startswith("begun 1")
    assert "with status 99: asking Slurm to run the job again" in (calls.folder / "log/y.log").read_text()

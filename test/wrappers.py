"""What the tests of run.pl and slurm.pl share."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
SLURM_CONF = """
command sbatch --export=PATH,HF_HOME,HF_HUB_OFFLINE
default gpu=0
option gpu=0 --partition=cpu
option gpu=* --partition=gpu --gres=gpu:$0
option name=* --job-name=$0
option time=* --time=$0
option mem=* --mem=$0
default num_threads=1
option num_threads=* --cpus-per-task=$0
option num_nodes=* --nodes=$0 --ntasks-per-node=1
option max_jobs_run=*
option partition=* --partition=$0
option hold=yes --hold
option begin=* --begin=$0
option warned=yes --signal=B:USR1@60
option wrong=* --no-such-option
"""
# a program that saves its state where a signal asks for it, or at once where it has an argument; done the second time
SAVING = """
import os, signal, sys, time
def save(number, frame):
    print("saved at", signal.Signals(number).name, flush=True)
    sys.exit(99)
for name in ["SIGUSR1", "SIGTERM"]:
    signal.signal(getattr(signal, name), save)
again = os.environ.get("SLURM_RESTART_COUNT", "0")
print("begun", again, os.environ["SLURM_JOB_ID"], flush=True)
if again == "0":
    if len(sys.argv) > 1:
        sys.exit(99)
    time.sleep(300)
"""
needs_proc = pytest.mark.needs("proc")


PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def nobody_asks_after_orphans():
    """As in a container without an init: processes that outlive their parent stay as zombies when they end."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
                if state == "Z" and int(parent) == os.getpid():
                    os.waitpid(int(path.parent.name), os.WNOHANG)


def said(log: Path) -> str:
    """What the command wrote, without the wrapper's own lines."""
    return "".join(line for line in log.read_text(encoding="utf-8").splitlines(True) if not line.startswith("#"))


def refused(done, wrapper: str) -> str:
    """The one line with which a wrapper refused a call."""
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"{wrapper}: error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


PATIENCE = 180  # seconds in which a call must end; on a busy machine Slurm loses and finds its nodes meanwhile


class SlurmCalls:
    """Calls of slurm.pl in one folder with a conf/slurm.conf."""

    def __init__(self, cluster, folder: Path):
        self.cluster, self.folder = cluster, folder
        (folder / "conf").mkdir()
        (folder / "conf/slurm.conf").write_text(SLURM_CONF)

    def start(self, *args, **env) -> subprocess.Popen:
        env = {**self.cluster.env, **env}
        command = [str(REPO / "utils/slurm.pl"), *map(str, args)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
            # The tests themselves may run under nohup, and slurm.pl then rightly ignores HUP.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    def run(self, *args, seconds=PATIENCE, **env):
        """Wait for the end of a call -> (exit status, stderr)."""
        return self.end(self.start(*args, **env), seconds)

    def end(self, wrapper: subprocess.Popen, seconds=PATIENCE):
        try:
            _, err = wrapper.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            wrapper.terminate()
            raise
        return wrapper.returncode, err

    def noticed(self, wrapper: subprocess.Popen):
        """Wait for the end of a call after something happened to its job -> (exit status, stderr).

        The promise is 15 s; a busy machine may take twice as long.
        """
        return self.end(wrapper, 30)

    def said(self, log: str) -> str:
        return said(self.folder / log)

    def running(self, log: str, word: str = "begun") -> str:
        """Wait until the command has written a word -> the job's id."""
        path = self.folder / log
        assert wait_until(lambda: path.exists() and word in said(path), 60), self.queue()
        lines = path.read_text().splitlines()
        return [line.split()[-1] for line in lines if line.startswith("# Running on ")][-1]

    def job(self, base: str = "x") -> str:
        """Wait until the call with log/<base>.log has a job -> the job's id."""
        path = self.folder / f"log/q/{base}.jobid"
        assert wait_until(lambda: path.exists() and path.read_text().strip())
        return path.read_text().strip()

    def states(self, job: str) -> list[str]:
        """The state of a job, or those of an array's tasks (one for all that never started)."""
        return [state for task, state in self.queue().items() if task.split("_")[0] == job]

    def queue(self) -> dict[str, str]:
        """Job's or task's id -> state, for all that Slurm knows: the jobs of other calls are among them."""
        lines = self.cluster.call(["squeue", "-h", "-r", "-t", "all", "-o", "%i %T"]).splitlines()
        return dict(line.split() for line in lines)

    def left(self) -> list[str]:
        """Files in log/q but the scripts."""
        return [name for name in os.listdir(self.folder / "log/q") if not name.endswith(".sh")]

"""A real Slurm with two nodes of four CPUs and two simulated GPUs each, in one folder; without systemd, as root.

By hand: `python test/slurm_cluster.py` starts a cluster and a shell that uses it, and stops it when the shell ends.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from espnet2_secap.process.processes import start_of

SBIN = "/usr/sbin"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "munged")
HOSTS = Path("/etc/hosts")
HOSTS_LINE = "127.0.0.1 n1 n2\n"
CONF = """
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
ReturnToService=2
KillWait=3
MinJobAge=300
RequeueExit=99
BatchStartTimeout=70
MessageTimeout=3
SlurmdTimeout=5
SlurmdParameters=config_overrides
SlurmctldTimeout=5
GresTypes=gpu
DefMemPerCPU=100
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES State=UP PreemptMode=OFF
PartitionName=gpu Nodes=ALL MaxTime=04:00:00 State=UP PreemptMode=OFF
PartitionName=first Nodes=n1 State=UP PriorityTier=9 PreemptMode=OFF
PartitionName=last Nodes=n1 State=UP PreemptMode=REQUEUE
PartitionName=last_graced Nodes=n1 State=UP PreemptMode=REQUEUE GraceTime=2
PartitionName=last_cancelled Nodes=n1 State=UP PreemptMode=CANCEL GraceTime=2
"""
GRES = "NodeName=n1 Name=gpu File={folder}/gpu[0-1]\nNodeName=n2 Name=gpu File={folder}/gpu[2-3]\n"


def why_not() -> str:
    """What is missing to start a Slurm here, and how to install it; an empty string if nothing."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "starts its own Slurm, which needs root: run the tests as root, with SLURM=1 make test"
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"needs Slurm ({' '.join(missing)}): SLURM=1 make test installs it (Debian and the like)" if missing else ""


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class SlurmCluster:
    """Start it, use it with `env` as the environment, stop it. It also stops when this process is killed."""

    def __init__(self, folder=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="slurm."))
        self.folder.chmod(0o755)  # munged runs as another user
        self.env = {**os.environ, "PATH": f"{os.environ['PATH']}:{SBIN}", "SLURM_CONF": f"{self.folder}/slurm.conf"}
        if folder is None:
            command = [sys.executable, __file__, "--stop_at_end_of_input", self.folder]
            self.stopper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def start(self) -> None:
        """Start it, in about a second; RuntimeError with the end of the daemons' logs after 60."""
        folder, host = self.folder, socket.gethostname().split(".")[0]
        for name in ("run", "log", "state", "munge"):
            (folder / name).mkdir(mode=0o755)
        (folder / "slurm.conf").write_text(CONF.format(folder=folder, host=host, ports=free_ports(3)))
        (folder / "gres.conf").write_text(GRES.format(folder=folder))
        for n in range(4):
            os.mknod(folder / f"gpu{n}", 0o666 | 0o020000, os.makedev(1, 3))
        (folder / "munge/key").write_bytes(os.urandom(128))
        (folder / "munge").chmod(0o700)
        (folder / "munge/key").chmod(0o400)
        for path in (folder / "munge", folder / "munge/key", folder / "run", folder / "log"):
            shutil.chown(path, "munge", "munge")
        text = HOSTS.read_text()
        if not re.search(r"\bn1\b.*\bn2\b", text):
            (folder / "added_hosts").touch()
            HOSTS.write_text(text + ("" if text.endswith("\n") else "\n") + HOSTS_LINE)
        files = [f"--{kind}-file={folder}/munge/{kind}" for kind in ("key", "log", "seed")]
        files += [f"--pid-file={folder}/run/munged.pid", f"--socket={folder}/run/munge.sock"]
        self.call(["munged", *files], user="munge", group="munge", extra_groups=[])
        self.call(["slurmctld", "-c"])
        for node in ("n1", "n2"):
            self.start_node(node)
        end = time.monotonic() + 60
        while self.call(["sinfo", "-h", "-N", "-p", "cpu", "-o", "%t"], check=False).split() != ["idle", "idle"]:
            if time.monotonic() > end:
                logs = [p.read_text()[-1000:] for p in (folder / "log").glob("*.log")]
                raise RuntimeError("Slurm does not start:\n" + "\n".join(logs))
            time.sleep(0.1)

    def start_node(self, node: str) -> None:
        self.call(["slurmd", "-N", node])

    def call(self, command, check=True, **options) -> str:
        """Run a program with the cluster's environment -> its stdout; RuntimeError with its stderr."""
        # Daemons keep what they were given as stdout open, so a pipe would never end.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            env = {**self.env, "LC_ALL": "C"}
            code = subprocess.run(command, stdout=out, stderr=err, env=env, timeout=60, **options).returncode
            out.seek(0)
            err.seek(0)
            if check and code != 0:
                raise RuntimeError(f"{' '.join(command)}: {err.read()}")
            return out.read()

    def pid(self, daemon: str) -> int | None:
        """Process id of munged, slurmctld, slurmd.n1 or slurmd.n2, if it runs."""
        try:
            pid = int((self.folder / f"run/{daemon}.pid").read_text())
            return pid if start_of(pid) is not None else None
        except (OSError, ValueError):
            return None

    def kill(self, daemon: str, number: int = signal.SIGTERM) -> None:
        """End a daemon and wait until it is gone."""
        pid, end = self.pid(daemon), time.monotonic() + 15
        while pid is not None and self.pid(daemon) == pid and time.monotonic() < end + 5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number if time.monotonic() < end else signal.SIGKILL)
            time.sleep(0.05)

    def stop(self) -> None:
        self.stopper.stdin.close()
        self.stopper.wait()

    def stop_here(self) -> None:
        """End all jobs and daemons, and remove the folder."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            if self.pid("slurmctld"):
                self.call(["scancel", "--full", "--signal=KILL", "--user=root"], check=False)
                self.call(["scancel", "--user=root"], check=False)
                end = time.monotonic() + 10
                while self.call(["squeue", "-h", "-o", "%i"], check=False) and time.monotonic() < end:
                    time.sleep(0.2)
        for daemon in ("slurmd.n1", "slurmd.n2", "slurmctld", "munged"):
            self.kill(daemon)
        if (self.folder / "added_hosts").exists():
            HOSTS.write_text(HOSTS.read_text().replace(HOSTS_LINE, "", 1))
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stop_at_end_of_input"]:
        sys.stdin.read()
        SlurmCluster(sys.argv[2]).stop_here()
        sys.exit()
    if why_not():
        sys.exit(f"slurm_cluster.py: error: {why_not()}")
    with SlurmCluster() as cluster:
        print(f"Slurm is up in {cluster.folder}; `exit` stops it")
        subprocess.run([os.environ.get("SHELL", "bash")], env=cluster.env)

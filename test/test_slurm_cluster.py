"""The Slurm of the tests leaves nothing, whatever happens to them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import time
from slurm_cluster import SlurmCluster
with SlurmCluster() as cluster:
    cluster.call(["sbatch", "--output=/dev/null", "--wrap=sleep 300"])
    print(cluster.folder, *map(cluster.pid, ("munged", "slurmctld", "slurmd.n1", "slurmd.n2")), flush=True)
    time.sleep(300)
"""


@pytest.mark.needs("slurm")
@pytest.mark.slow(5)
def test_it_ends_with_the_process_that_started_it():
    hosts = Path("/etc/hosts").read_text()
    options = dict(cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], **options)
    folder, *pids = process.stdout.readline().split()
    assert len(pids) == 4 and all(running(pid) for pid in pids)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 60
    while Path(folder).exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(folder).exists() and not any(running(pid) for pid in pids)
    assert Path("/etc/hosts").read_text() == hosts


def running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

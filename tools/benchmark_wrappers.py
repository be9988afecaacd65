"""Measure what utils/run.pl and utils/slurm.pl cost per job."""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
DESCRIPTION = """Measure what utils/run.pl and utils/slurm.pl cost per job, in seconds.

run.pl: its time for a job that does nothing, and for an array of N of them one after the other, less the time of the
same commands by bash. slurm.pl: from its start to the start of the job, less the same for a bare sbatch; and from the
end of the job's command to its own end. The jobs have Slurm to themselves. Slurm is one of its own, as the tests'
(as root: SLURM=1 tools/installers/install_slurm.sh); with --slurm_conf FILE the cluster on PATH, and that
configuration."""


def seconds(command: list[str], folder: Path, env=None) -> float:
    """Run a command -> how long it took."""
    start = time.monotonic()
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def spread(values: list[float]) -> str:
    """Two cells of the table."""
    return f"{statistics.median(values):.3f} | {max(values):.3f}"


def local(folder: Path, repeat: int, jobs: int) -> list[str]:
    """Rows of the table for run.pl."""
    bash = ["bash", "-o", "pipefail", "-c", "true > x.log"]
    run = [str(REPO / "utils/run.pl"), "--max_jobs_run", "1"]
    one = [seconds([*run, "x.log", "true"], folder) - seconds(bash, folder) for _ in range(repeat)]
    array = [*run, f"JOB=1:{jobs}", "x.JOB.log", "true"]
    many = [(seconds(array, folder) - sum(seconds(bash, folder) for _ in range(jobs))) / jobs for _ in range(repeat)]
    return [f"| run.pl, 1 job | {spread(one)} |", f"| run.pl, array of {jobs}, per job | {spread(many)} |"]


def stamped(log: Path) -> list[float]:
    """The times that a job wrote: at its start and at its end."""
    return [float(line) for line in log.read_text().splitlines() if re.fullmatch(r"\d+\.\d+", line)]


def slurm(folder: Path, repeat: int, jobs: int, env: dict) -> list[str]:
    """Rows of the table for slurm.pl."""
    script = folder / "bare.sh"
    script.write_text("#!/usr/bin/env bash\ndate +%s.%N\n")
    sbatch = re.search(r"^command (.*)", (folder / "conf/slurm.conf").read_text(), re.MULTILINE)[1].split()
    bare, before, after, many = [], [], [], []
    for n in range(repeat):
        start, log = time.time(), folder / f"bare.{n}.log"
        subprocess.run([*sbatch, f"--output={log}", script], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        while not (log.exists() and stamped(log)):
            time.sleep(0.01)
        bare.append(stamped(log)[0] - start)
        time.sleep(1)
        for array, last in ((False, 1), (True, jobs)):
            call = [str(REPO / "utils/slurm.pl"), f"JOB=1:{last}", f"x{last}.JOB.log"]
            start = time.time()
            seconds([*call, "bash", "-c", "date +%s.%N; sleep 2; date +%s.%N"], folder, env)
            end = time.time()
            times = [stamped(folder / f"x{last}.{job}.log") for job in range(1, last + 1)]
            if array:
                many.append(end - max(t[1] for t in times))
            else:
                before.append(times[0][0] - start)
                after.append(end - times[0][1])
            time.sleep(1)
    sums = [b + a - statistics.median(bare) for b, a in zip(before, after, strict=True)]
    return [
        f"| a bare sbatch until its script runs | {spread(bare)} |",
        f"| slurm.pl until its command runs | {spread(before)} |",
        f"| the command's end until slurm.pl's | {spread(after)} |",
        f"| **slurm.pl, 1 job, beyond a bare sbatch** | {spread(sums)} |",
        f"| the end of the last of {jobs} jobs of an array until slurm.pl's | {spread(many)} |",
    ]


def main():
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=10, help="how often each is measured (default 10)")
    parser.add_argument("--jobs", type=int, default=8, help="jobs in an array (default 8)")
    parser.add_argument("--slurm_conf", help="configuration of slurm.pl for the cluster at hand")
    args = parser.parse_args()
    rows = ["| s | median | most |", "|---|---:|---:|"]
    with tempfile.TemporaryDirectory(prefix="wrappers.", dir="." if args.slurm_conf else None) as name:
        folder = Path(name).resolve()
        rows += local(folder, args.repeat, args.jobs)
        (folder / "conf").mkdir()
        if args.slurm_conf:
            (folder / "conf/slurm.conf").write_text(Path(args.slurm_conf).read_text())
            rows += slurm(folder, args.repeat, args.jobs, dict(os.environ))
        else:
            sys.path.insert(0, str(REPO / "test"))
            from slurm_cluster import SlurmCluster, why_not

            if why_not():
                print(f"slurm.pl is not measured: {why_not()}", file=sys.stderr)
            else:
                (folder / "conf/slurm.conf").write_text("command sbatch --export=PATH\n")
                with SlurmCluster() as cluster:
                    rows += slurm(folder, args.repeat, args.jobs, cluster.env)
    print("\n".join(rows))


if __name__ == "__main__":
    main()

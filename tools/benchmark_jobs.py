"""Stage 3 on one job and on several: seconds, CPU seconds and speed-up, on noise with a random HuBERT-base."""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tools")]

from benchmark_parts import make_hubert  # noqa: E402

from espnet2_secap.feats.shards import Settings, deal, plan  # noqa: E402

RATE = 16000  # Hz


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Every job has one thread. One job and NJ jobs are run in turn, each with all its start-up, as sec.sh "
        "runs them. On a machine that does other work too the seconds say little; the speed-up that the CPU seconds "
        "would give there, with the audio shared as it is, stands beside.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--size", choices=["tiny", "small", "paper"], default="small", help="of the HuBERT; small is HuBERT-base")
    add("--utterances", type=int, default=256, help="of 2 to 6 s, 4 s on average")
    add("--nj", type=int, default=2, help="jobs, at least 2")
    add("--rounds", type=int, default=2, help="how often each is run")
    return parser


def make_set(folder: Path, utterances: int) -> float:
    """dump/raw/test of noise, always the same; returns its seconds."""
    import numpy as np
    import soundfile

    raw = folder / "dump" / "raw" / "test"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    lengths = {f"u{i:05d}": int(draw.uniform(2 * RATE, 6 * RATE)) for i in range(utterances)}
    for utt, length in lengths.items():
        soundfile.write(raw / f"{utt}.wav", 0.1 * draw.standard_normal(length), RATE)
    (raw / "wav.scp").write_text("".join(f"{utt} dump/raw/test/{utt}.wav\n" for utt in lengths))
    (raw / "utt2num_samples").write_text("".join(f"{utt} {length}\n" for utt, length in lengths.items()))
    return sum(lengths.values()) / RATE


def busiest_share(folder: Path, nj: int) -> float:
    """The largest share of the audio that one of `nj` jobs gets."""
    shards = plan(folder / "dump", ["test"], folder, Settings("", {}, "float32"))
    amounts = [sum(shard.samples for shard in mine) for mine in deal(shards, nj)]
    return max(amounts) / sum(amounts)


def run(folder: Path, nj: int) -> tuple[float, float]:
    """Stage 3 from nothing on `nj` jobs: seconds, CPU seconds of all jobs."""
    shutil.rmtree(folder / "dump" / "hubert", ignore_errors=True)
    extract = [sys.executable, "-m", "espnet2_secap.bin.sec_extract_feats", "--sets", "test", "--output", "dump/hubert"]
    extract += ["--upstream_path", "hubert", "--batch_seconds", "60", "--nj", str(nj)]
    jobs = [str(REPO / "utils" / "run.pl"), "--num_threads", "1", "--max_jobs_run", str(nj), f"JOB=1:{nj}"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*jobs, "logs/JOB.log", *extract, "--job", "JOB"], cwd=folder, check=True)
    subprocess.run([*extract, "--combine", "true"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run, and print a line for each run and the speed-up of the best ones."""
    args = get_parser().parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        make_hubert(folder / "hubert", args.size)
        speech = make_set(folder, args.utterances)
        busiest = busiest_share(folder, args.nj)
        results = {1: [], args.nj: []}
        for _ in range(args.rounds):
            for nj in results:
                seconds, cpu = run(folder, nj)
                results[nj].append((seconds, cpu))
                print(f"{nj} job(s): {speech:.0f} s of speech in {seconds:.1f} s, {cpu:.1f} CPU s", flush=True)
    best = {nj: min(seconds for seconds, _ in runs) for nj, runs in results.items()}
    cpu = {nj: min(cpu for _, cpu in runs) for nj, runs in results.items()}
    start_up = max((cpu[args.nj] - cpu[1]) / (args.nj - 1), 0.0)  # each further job adds one
    bound = cpu[1] / (start_up + (cpu[1] - start_up) * busiest)
    print(json.dumps({"nj": args.nj, "speed_up": round(best[1] / best[args.nj], 3), "by_cpu_seconds": round(bound, 3)}))


if __name__ == "__main__":
    main()

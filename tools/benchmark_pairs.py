#!/usr/bin/env python3
"""Time and memory of sec_pairs make: candidates of a large training set are ranked, and pairs made."""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from espnet2_secap.metric.words import load_words  # noqa: E402

ATTRIBUTES = {"emotion": "emo", "rate": "rate", "volume": "volume", "pitch": "pitch"}
FILLERS = {
    "zh": ("说话人", "这段声音里", "语气之中", "听上去", "似乎", "整个过程", "这个人", "从头到尾"),
    "en": ("the speaker", "in this recording", "the voice", "throughout", "it seems", "someone", "the person", "here"),
}
SPOKEN = {"zh": "今天下午三点我们在学校门口见面", "en": "we will meet at the school gate at three this afternoon"}


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: tools/venv/bin/python tools/benchmark_pairs.py --work /tmp/benchmark_pairs",
    )
    parser.add_argument("--work", default="benchmark_pairs", help="folder that is made, and removed at the end")
    parser.add_argument("--utterances", type=int, default=20000, help="(default: 20000)")
    parser.add_argument("--candidates", type=int, default=8, help="of each utterance (default: 8)")
    parser.add_argument("--references", type=int, default=3, help="captions of each utterance (default: 3)")
    parser.add_argument("--nj", type=int, default=2, help="jobs at the same time (default: 2)")
    parser.add_argument("--lang", choices=FILLERS, default="zh", help="of the captions (default: zh)")
    parser.add_argument("--rules", default="all", help="of sec_pairs make (default: all)")
    return parser


def sentence(rng: random.Random, words: dict, truth: dict, lang: str, wrong: float) -> str:
    """A caption that names some attributes, each wrongly with a probability."""
    clauses = []
    for name in rng.sample(list(truth), rng.randint(2, len(truth))):
        category = rng.choice(list(words[name])) if rng.random() < wrong else truth[name]
        clauses.append(f"{rng.choice(FILLERS[lang])}{'' if lang == 'zh' else ' '}{rng.choice(words[name][category])}")
    return ("，" if lang == "zh" else ", ").join(clauses)


def make_corpus(folder: Path, args: argparse.Namespace) -> None:
    """Labels, captions and candidates by draws from the words of the language."""
    rng, words = random.Random(0), load_words(args.lang)
    data = folder / "data"
    data.mkdir(parents=True)
    tables = {name: [] for name in ("wav.scp", "text", "captions", *(f"utt2{one}" for one in ATTRIBUTES.values()))}
    with open(folder / "candidates.jsonl", "w", encoding="utf-8") as stream:
        for at in range(args.utterances):
            utt = f"utt{at:06d}"
            truth = {name: rng.choice(list(words[name])) for name in ATTRIBUTES}
            texts = [sentence(rng, words, truth, args.lang, 0.3) for _ in range(args.candidates)]
            captions = [sentence(rng, words, truth, args.lang, 0.0) for _ in range(args.references)]
            row = {"id": utt, "prompt": "?", "candidates": [{"text": text, "score": -1.0} for text in texts]}
            print(json.dumps(row, ensure_ascii=False), file=stream)
            values = [f"{utt}.wav", SPOKEN[args.lang], json.dumps(captions, ensure_ascii=False), *truth.values()]
            for lines, value in zip(tables.values(), values, strict=True):
                lines.append(f"{utt} {value}\n")
    for name, lines in tables.items():
        (data / name).write_text("".join(lines), encoding="utf-8")


def run(commands: list[list[str]]) -> tuple[float, float, float]:
    """Run commands together -> seconds, CPU seconds, greatest memory of one in MB."""
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(one, env=environment, stdout=subprocess.DEVNULL) for one in commands]
    cpu = memory = 0.0
    for process in running:
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(process.args)}: failed")
        process.returncode = 0
        cpu, memory = cpu + usage.ru_utime + usage.ru_stime, max(memory, usage.ru_maxrss / 1000)
    return time.monotonic() - start, cpu, memory


def main() -> None:
    """Make the corpus, rank it and print a row of a table for the jobs and for their combination."""
    args = get_parser().parse_args()
    folder = Path(args.work)
    if folder.exists():
        raise SystemExit(f"{folder}: is there already; give another folder")
    make_corpus(folder, args)
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_pairs", "make", "--candidates", str(folder)]
    command += ["--data_dir", str(folder / "data"), "--output_dir", str(folder / "out"), "--lang", args.lang]
    command += ["--rules", args.rules, "--nj", str(args.nj)]
    jobs = run([[*command, "--job", str(job)] for job in range(1, args.nj + 1)])
    combined = run([[*command, "--combine", "true"]])
    with open(folder / "out/pairs.jsonl", "rb") as stream:
        count = sum(1 for _ in stream)
    size = f"{args.utterances} x {args.candidates} candidates, {args.lang}"
    print("| what | s | CPU s | peak MB |\n|---|---:|---:|---:|")
    for what, found in (("jobs", jobs), ("combine", combined)):
        print(f"| {size}: {args.nj} {what} | " + " | ".join(f"{one:.0f}" for one in found) + " |")
    print(f"{count} pairs")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

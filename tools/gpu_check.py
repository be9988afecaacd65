#!/usr/bin/env python3
"""Speed, memory and correctness of training and decoding on one GPU: one table, and JSON.

Each part is a process with a time budget of its own; what it has measured when the time is up, or when it fails,
counts, and the other parts run all the same.
"""

import argparse
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
MARK = "gpu_check row: "  # before each result on a part's standard output
# Part -> seconds at most; together 8 minutes. What a part does not need is left to the ones after it.
BUDGETS = {"parity": 50, "paper": 210, "small": 80, "mini": 140}
TINY = {"parity": 600, "tiny": 900, "mini": 900}  # to try the program on a busy machine
GOALS = {  # value, the least or the most of it, its unit
    "stage 6 step, share of the matrix-product bound": (0.45, "least"),
    "greedy decoding, batch 64, share of the memory-bandwidth bound": (0.60, "least"),
    "decoding as published, times as fast as the published way": (8.0, "least"),
    "losses, largest difference of CPU and GPU": (1e-3, "most"),
    "greedy captions that differ on CPU and GPU": (0, "most"),
}


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="gpu_check.sh",
        description=__doc__.split("\n\n")[0],
        epilog="--device cpu --size tiny tries all parts without a GPU, in a few minutes.",
    )
    parser.add_argument("--work", help="folder for random weights (15 GB) and mini_emospeech; a temporary one if none")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--size", choices=["full", "tiny"], default="full", help="full: small and the paper's sizes")
    parser.add_argument("--parts", nargs="+", choices=[*BUDGETS, "tiny"], metavar="PART", help="default: all of them")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together (default: 8)")
    parser.add_argument("--output", default="gpu_check.json", help="JSON file (default: gpu_check.json)")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # run this one here
    return parser


def run_part(part: str, args, seconds: float) -> tuple[list[dict], str | None]:
    """Run one part in a process group of its own; its rows, and why it did not come to its end."""
    command = [sys.executable, __file__, "--part", part, "--work", args.work, "--device", args.device]
    process = subprocess.Popen(
        command + ["--size", args.size],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines: queue.Queue = queue.Queue()
    errors: list[str] = []
    readers = [
        threading.Thread(target=lambda: [lines.put(line) for line in process.stdout] and None, daemon=True),
        threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True),
    ]
    for reader in readers:
        reader.start()
    why = None
    try:
        process.wait(timeout=max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        why = f"stopped after its budget of {seconds:.0f} s"
    finally:
        try:  # whatever the part has started ends with it
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    code = process.wait()
    for reader in readers:
        reader.join(timeout=5)
    rows = []
    while not lines.empty():
        line = lines.get()
        if line.startswith(MARK):
            rows.append(json.loads(line[len(MARK) :]))
    if why is None and code:
        said = [line.strip() for line in errors if line.strip()]
        why = f"ended with status {code}: {said[-1][:300] if said else 'nothing said'}"
    return rows, why


def emit(**row) -> None:
    """A result, from a part to the program that started it."""
    print(MARK + json.dumps(row), flush=True)


def table(rows: list[dict]) -> str:
    """One line per measurement."""
    head = (
        f"{'part':8}{'what':46}{'ms/step':>10}{'tokens/s':>10}{'utt/s':>8}{'peak GB':>9}{'products':>10}{'memory':>8}"
    )
    lines = [head, "-" * len(head)]
    for row in rows:
        if "seconds" not in row:
            continue

        def cell(key: str, form: str, scale: float = 1.0, row=row) -> str:
            return format(row[key] * scale, form) if row.get(key) is not None else "-"

        shares = [f"{row[key] / row['seconds']:.0%}" if row.get(key) else "-" for key in ("products", "bandwidth")]
        lines.append(
            f"{row['part']:8}{row['what']:46}{row['seconds'] / row.get('steps', 1) * 1e3:10.1f}"
            f"{row['tokens'] / row['seconds'] if row.get('tokens') else 0:10.0f}"
            f"{row['utterances'] / row['seconds'] if row.get('utterances') else 0:8.1f}"
            f"{cell('memory', '9.2f', 1e-9):>9}{shares[0]:>10}{shares[1]:>8}"
        )
    for row in rows:
        if "seconds" not in row:
            lines.append(f"{row['part']:8}{row['what']}: {row.get('said', row.get('error', ''))}")
    return "\n".join(lines)


def judge(rows: list[dict]) -> list[dict]:
    """Each goal with its value, and whether it is met; None where it was not measured."""
    found = {row["goal"]: row["value"] for row in rows if "goal" in row}
    judged = []
    for name, (wanted, side) in GOALS.items():
        value = found.get(name)
        met = None if value is None else value >= wanted if side == "least" else value <= wanted
        judged.append({"goal": name, "value": value, "wanted": wanted, "side": side, "met": met})
    return judged


def main() -> None:
    """All parts in turn, or the one that the hidden option names."""
    args = get_parser().parse_args()
    if args.part:
        import gpu_parts

        gpu_parts.run(args, emit)
        return
    if args.size == "tiny":
        budgets = dict(TINY)
        args.minutes = max(args.minutes, sum(TINY.values()) / 60)
    else:
        budgets = dict(BUDGETS)
    parts = args.parts or list(budgets)
    unknown = sorted(set(parts) - set(budgets))
    if unknown:
        sys.exit(
            f"gpu_check: --parts {' '.join(unknown)}: not with --size {args.size}; choose from {' '.join(budgets)}"
        )
    with tempfile.TemporaryDirectory(prefix="gpu_check.") as temporary:
        args.work = str(Path(args.work or temporary).resolve())
        report = check(args, {part: budgets[part] for part in budgets if part in parts})
    Path(args.output).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {args.output}")
    sys.exit(1 if report["failed"] else 0)


def check(args, budgets: dict[str, float]) -> dict:
    """Run the parts and print the table."""
    start, rows, failed = time.monotonic(), [], {}
    for part, budget in budgets.items():
        left = args.minutes * 60 - (time.monotonic() - start)
        began = time.monotonic()
        if left < 5:
            failed[part] = "no time was left"
            continue
        print(f"gpu_check: {part} ...", file=sys.stderr, flush=True)
        found, why = run_part(part, args, min(budget, left))
        rows += [{"part": part} | row for row in found]
        if why:
            failed[part] = why
        print(f"gpu_check: {part}: {time.monotonic() - began:.0f} s{'; ' + why if why else ''}", file=sys.stderr)
    failed |= {f"{row['part']}, {row['what']}": row["error"] for row in rows if "error" in row}
    machine = next((row["machine"] for row in rows if "machine" in row), {})
    rows = [row for row in rows if "machine" not in row]
    goals = judge(rows)
    print(
        f"{machine.get('device', args.device)}; torch {machine.get('torch')}, CUDA {machine.get('cuda')};"
        f" size {args.size}"
    )
    print(
        "products, memory: share of the time that matrix products, or reading the weights, would take at the speed of"
    )
    print("a large product and of a copy in the same number format, measured in the same run")
    print(table(rows))
    for goal in goals:
        value = "not measured" if goal["value"] is None else f"{goal['value']:.4g}"
        sign = "at least" if goal["side"] == "least" else "at most"
        word = {True: "met", False: "missed", None: "open"}[goal["met"]]
        print(f"goal {word:6} {goal['goal']}: {value} ({sign} {goal['wanted']:g})")
    for name, why in failed.items():
        print(f"failed: {name}: {why}")
    seconds = time.monotonic() - start
    print(f"{seconds:.0f} s in all")
    return {
        "machine": machine | {"python": platform.python_version()},
        "options": {"size": args.size, "device": args.device, "minutes": args.minutes},
        "seconds": seconds,
        "rows": rows,
        "goals": goals,
        "failed": failed,
    }


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Mutation testing: small changes to the code, drawn at random, and whether the tests notice them.

Each mutation is made in a copy of the tree, in which the tests of its room run. A mutation that no test notices is
either a test that is missing or no change of behaviour; the latter are listed in tools/mutants_equivalent.txt with the
reason. The libraries are loaded once, and every run of tests is a fork of that process.

    make mutants                                     # 60 mutations of the rooms below, a table
    tools/mutants.py --count 20 --seed 7 --rooms loss,model
    tools/mutants.py --only "sccl.py:58"             # all mutations of a line
"""

import argparse
import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tools"))
from mutants_ast import Mutation, mutations_of  # noqa: E402

ROOMS = ["loss", "model", "bridge", "decoder", "metric", "data", "report", "sampler"]
TRIES = 3  # of tests that wait for other processes and do not get an answer in time
EQUIVALENT = REPO / "tools" / "mutants_equivalent.txt"
# What takes long to load and is not under test: for all rooms, and for those that compute with models.
LIBRARIES = "pytest _pytest.assertion.rewrite yaml numpy scipy.stats soundfile soxr kaldiio".split()
OF_MODELS = """
    torch torch.distributed torch.utils.checkpoint torch.func transformers transformers.masking_utils
    transformers.generation transformers.models.llama.modeling_llama transformers.models.bert.modeling_bert
    transformers.models.blip_2.modeling_blip_2 transformers.models.auto.modeling_auto
    transformers.models.auto.tokenization_auto sentencepiece espnet2.asr.specaug.specaug
    espnet2.train.abs_espnet_model espnet2.iterators.sequence_iter_factory espnet2.torch_utils.device_funcs
    """.split()
WITHOUT_MODELS = {"metric", "data", "report"}


def read_equivalent(path: Path) -> dict[tuple[str, str, str], str]:
    """(file, function, change) -> reason; the fields of a line are separated by tabs, # begins a comment."""
    known = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            fields = line.split("\t")
            if len(fields) != 4 or not all(field.strip() for field in fields):
                raise SystemExit(f"{path.name}:{number}: expected file, function, change, reason between tabs")
            known[tuple(fields[:3])] = fields[3]
    return known


def tests_of(mutation: Mutation) -> list[list[str]]:
    """Test files in the order in which they run: that of the module and, if it sees nothing, the rest of its room."""
    room, module = mutation.file.split("/")[1], Path(mutation.file).stem
    own = REPO / "test" / room / f"test_{module}.py"
    others = [path for path in sorted(own.parent.glob("test_*.py")) if path != own]
    parts = [[own] if own.is_file() else [], others]
    return [[path.relative_to(REPO).as_posix() for path in part] for part in parts if part]


def copy_tree(folder: Path) -> None:
    """The files of the checkout that git knows or does not ignore, with a link to the environment."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=REPO, capture_output=True, text=True, check=True).stdout.split("\0"):
        source, target = REPO / name, folder / name
        if not name or (source.is_symlink() and source.resolve().is_dir()) or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        else:
            shutil.copy2(source, target)
    for name in ("venv", "spice"):
        if (REPO / "tools" / name).is_dir():
            (folder / "tools" / name).symlink_to((REPO / "tools" / name).resolve())


def load_libraries(rooms: list[str]) -> None:
    """Import what the tests of these rooms need; what is not installed is left out."""
    for name in LIBRARIES if WITHOUT_MODELS.issuperset(rooms) else LIBRARIES + OF_MODELS:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    ours = [name for name in sys.modules if name.split(".")[0] == "espnet2_secap"]
    assert not ours, f"loaded before the mutation: {ours}"


def start_tests(tree: Path, tests: list[str], log: Path, limit: int) -> int:
    """Fork a process that runs the tests in the tree; its exit status is pytest's. Returns its id."""
    process = os.fork()
    if process:
        return process
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path.insert(0, str(tree))
        import pytest

        sys.dont_write_bytecode = True
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={tree}", *tests])
    except BaseException as err:
        print(repr(err), flush=True)
        code = 3
    sys.stdout.flush()
    os._exit(int(code))


class Runs:
    """Up to `workers` runs of tests at a time, each in a tree of its own."""

    def __init__(self, folder: Path, workers: int, limit: int):
        self.limit = limit
        self.trees = [folder / f"tree{i}" for i in range(workers)]
        for tree in self.trees:
            tree.mkdir()
            copy_tree(tree)
        self.running = {}

    def start(self, mutation: Mutation | None, parts: list[list[str]]) -> None:
        """Change the file in a free tree, and run the first part of the tests there."""
        tree = self.trees.pop()
        if mutation:
            (tree / mutation.file).write_text(mutation.changed(), encoding="utf-8")
        self._run(mutation, tree, parts, TRIES)

    def _run(self, mutation, tree: Path, parts: list[list[str]], tries: int) -> None:
        log = tree.with_suffix(".log")
        process = start_tests(tree, parts[0], log, self.limit)
        self.running[process] = (mutation, tree, parts, tries, log, time.monotonic())

    def wait(self) -> tuple[Mutation | None, str, str]:
        """Wait until a mutation was seen or all its tests have passed.

        Returns:
            the mutation; "seen", "time", "unseen" or what else became of it; what pytest said last.
        """
        while True:
            for process, (mutation, tree, parts, tries, log, start) in list(self.running.items()):
                done, status = os.waitpid(process, os.WNOHANG)
                # On a busy machine the clock runs ahead of what the process gets; one that only sleeps ends too.
                if not done and time.monotonic() - start < 10 * self.limit:
                    continue
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
                if not done:
                    os.waitpid(process, 0)
                del self.running[process]
                code = os.waitstatus_to_exitcode(status) if done else -signal.SIGKILL
                said = log.read_text(errors="replace")
                if code == 1 and "TimeoutExpired" in said and tries > 1:  # the machine was busy, or is it the mutation?
                    self._run(mutation, tree, parts, tries - 1)
                    continue
                if code == 0 and len(parts) > 1:
                    self._run(mutation, tree, parts[1:], TRIES)
                    continue
                if mutation:
                    shutil.copy2(REPO / mutation.file, tree / mutation.file)
                self.trees.append(tree)
                other = "time" if code < 0 else f"pytest ends with {code}"
                lines = [line for line in said.splitlines() if line.strip()]
                failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
                return mutation, {0: "unseen", 1: "seen", 2: "seen"}.get(code, other), (failed or lines or [""])[-1]
            time.sleep(0.1)


def draw(rooms: list[str], count: int, seed: int, known: dict) -> list[Mutation]:
    """`count` mutations, the rooms in turn, none of them known to change nothing."""
    left = {}
    for room in rooms:
        files = sorted((REPO / "espnet2_secap" / room).glob("*.py"))
        every = [one for path in files for one in mutations_of(path.relative_to(REPO).as_posix(), path.read_text())]
        left[room] = every
        random.Random(f"{seed}-{room}").shuffle(left[room])  # whatever the other rooms are
        left[room] = [one for one in left[room] if one.key not in known]
    drawn = []
    while len(drawn) < count and any(left.values()):
        for room in rooms:
            while left[room] and len(drawn) < count:
                drawn.append(left[room].pop())
                if drawn[-1].parses():
                    break
                drawn.pop()
    return drawn


def table(results: list[tuple[Mutation, str, str]], rooms: list[str]) -> str:
    """Markdown: the unseen ones, and the share of each room."""
    lines = ["| file | line | function | change | |", "|---|---|---|---|---|"]
    for mutation, result, _ in sorted(results, key=lambda one: (one[1], one[0].file, one[0].line)):
        change = mutation.change.replace("|", "\\|")
        lines.append(f"| {mutation.file} | {mutation.line} | {mutation.function} | `{change}` | {result} |")
    lines += ["", "| room | mutations | seen | share |", "|---|---|---|---|"]
    for room in [*rooms, "all"]:
        some = [result for mutation, result, _ in results if room in ("all", mutation.file.split("/")[1])]
        if some:
            seen = sum(result in ("seen", "time") for result in some)
            lines.append(f"| {room} | {len(some)} | {seen} | {100 * seen / len(some):.0f}% |")
    return "\n".join(lines)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=60, help="mutations to draw")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="rooms to draw from, in turn")
    parser.add_argument("--only", help="all mutations of FILE:LINE instead of a draw; FILE may be its end")
    parser.add_argument("--unchanged", action="store_true", help="also run the tests without any mutation first")
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--limit", type=int, default=120, help="seconds of processor time for a run; beyond: seen")
    return parser


def main() -> None:
    """Draw, run, print."""
    args = get_parser().parse_args()
    rooms = args.rooms.split(",")
    known = read_equivalent(EQUIVALENT)
    drawn = draw(rooms, 10**9 if args.only else args.count, args.seed, known)
    if args.only:
        file, line = args.only.rsplit(":", 1)
        drawn = [one for one in drawn if one.file.endswith(file) and one.line == int(line)]
    if args.list or not drawn:
        print("\n".join(f"{one.file}:{one.line}\t{one.function}\t{one.change}" for one in drawn) or "no mutation")
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # of a file of the same size and second, Python would take the old one
    if (REPO.parent / "shared").is_dir():
        os.environ.setdefault("SEC_SHARED", str(REPO.parent / "shared"))
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (REPO, REPO / "tools")]
    load_libraries(rooms)
    results = []
    with tempfile.TemporaryDirectory(prefix="mutants.") as folder:
        runs = Runs(Path(folder), args.workers, args.limit)
        if args.unchanged:
            for tests in dict.fromkeys(tuple(map(tuple, tests_of(one))) for one in drawn):
                runs.start(None, tests)
                _, result, said = runs.wait()
                if result != "unseen":
                    raise SystemExit(f"without a mutation: {said}")
        waiting = list(reversed(drawn))
        while waiting or runs.running:
            while waiting and runs.trees:
                runs.start(waiting[-1], tests_of(waiting[-1]))
                waiting.pop()
            mutation, result, said = runs.wait()
            results.append((mutation, result, said))
            place = f"{mutation.file}:{mutation.line}"
            print(
                f"{len(results)}/{len(drawn)}\t{result}\t{place}\t{mutation.function}\t{mutation.change}\t{said}",
                flush=True,
            )
    print("\n" + table(results, rooms))


if __name__ == "__main__":
    main()

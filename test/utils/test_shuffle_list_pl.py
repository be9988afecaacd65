"""shuffle_list.pl: Kaldi's usage, an order that the seed alone decides."""

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "utils" / "shuffle_list.pl"
LINES = "".join(f"line {i}\n" for i in range(50))


def run(*args, text=LINES):
    return subprocess.run([PROGRAM, *args], input=text, capture_output=True, text=True, timeout=30)


def test_the_seed_decides_the_order(tmp_path):
    (tmp_path / "list").write_text(LINES.removesuffix("\n"))
    one = run("--srand", "3", tmp_path / "list").stdout
    assert sorted(one.splitlines()) == sorted(LINES.splitlines()) and one != LINES
    assert one == run("--srand=3").stdout != run("--srand", "4").stdout
    assert run().stdout == run("--srand", "0").stdout
    assert run(text="").stdout == "" and run(text="a").stdout == "a\n"


@pytest.mark.parametrize("args", [["--srand"], ["--srand", "x"], ["--seed", "1"], ["a", "b"], ["/none/such"]])
def test_bad_calls(args):
    done = run(*args)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("shuffle_list.pl: error: ")

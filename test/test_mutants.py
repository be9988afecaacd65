"""tools/mutants.py: which changes are made, and one real run of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tools"))
import mutants  # noqa: E402
from mutants_ast import mutations_of  # noqa: E402


def changes(code: str) -> set[str]:
    """What stands between the brackets of each mutation of the code that parses."""
    return {re.search(r"\[([^\[]* -> .*?)\]", one.change)[1] for one in mutations_of("a.py", code) if one.parses()}


@pytest.mark.parametrize(
    "code, expected",
    [
        ("a < b", {"< -> <="}),
        ("a is not b", {"is not -> is"}),
        ("a and b or c", {"and -> or", "or -> and"}),
        ("a + b", {"+ -> -"}),
        ("a += b", {"+= -> -="}),
        ("not a", {"not a -> (a)"}),
        ("x = 5", {"5 -> 6", "5 -> 4"}),
        ("x = True", {"True -> False"}),
        ("f(a, b=c)", {", b=c -> ", "f(a, b=c) -> pass"}),
        ("x = f(b=c)", {"b=c -> "}),
        ("x[a:]", {"a -> ", "a -> a + 1"}),
        ("x = y.detach()", {"y.detach() -> y"}),
        ("x = y.sum()", {"sum -> mean"}),
        ("x = min(y)", {"min -> max"}),
        ("def f():\n    return x", {"x -> None"}),
        ("if a: b", {"a -> (not a)"}),
        ("x = '语' + a < b", {"< -> <="}),  # columns count bytes; + joins text
        ('"""Of 5 + 5."""', set()),
        ("raise SecError(f'{a + b}')", set()),
        ("print(a + 1)", set()),
        ("parser.add_argument('--a', default=1)", set()),
        ("x: dict[int, 5]", set()),
        ("assert a < b, 5", set()),
    ],
)
def test_changes_of_each_kind(code, expected):
    assert changes(code) == expected


def test_a_change_is_made_where_it_is_said():
    code = "def f(x):\n    # 语\n    y = '语' if x < 5 else 7\n    return y\n"
    (one,) = (one for one in mutations_of("a.py", code) if "[<" in one.change)
    assert one.key == ("a.py", "f", "y = '语' if x [< -> <=] 5 else 7") and one.line == 3
    assert one.changed() == code.replace("<", "<=")


def test_a_draw_is_the_same_whatever_the_other_rooms():
    alone, both = mutants.draw(["loss"], 5, 3, {}), mutants.draw(["loss", "sampler"], 10, 3, {})
    assert [one.key for one in both[::2]] == [one.key for one in alone]
    assert {one.file.split("/")[1] for one in both[1::2]} == {"sampler"}
    known = dict.fromkeys([alone[1].key], "equivalent")
    assert [one.key for one in mutants.draw(["loss"], 4, 3, known)] == [one.key for one in alone if one is not alone[1]]


def test_equivalent_mutations_are_mutations_of_the_code():
    known = mutants.read_equivalent(mutants.EQUIVALENT)
    for file in {file for file, _, _ in known}:
        there = {one.key for one in mutations_of(file, (REPO / file).read_text(encoding="utf-8"))}
        assert {key for key in known if key[0] == file} <= there, "the code has changed: remove or renew the line"


def test_the_tests_of_the_module_run_first():
    (one, *_) = mutations_of("espnet2_secap/loss/sccl.py", "x = 5")
    first, others = mutants.tests_of(one)
    assert first == ["test/loss/test_sccl.py"] and "test/loss/test_vclub.py" in others and first[0] not in others


@pytest.mark.slow(20)
def test_a_run_of_three():
    """Changes of the standardisation, which test/loss/test_estimator.py works out by hand."""
    line = next(
        at
        for at, code in enumerate((REPO / "espnet2_secap/loss/estimator.py").read_text().splitlines(), 1)
        if code.strip() == "values = values - values.mean(0)"
    )
    command = [sys.executable, "tools/mutants.py", "--rooms", "loss", "--only", f"estimator.py:{line}"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert "| values = values [- -> +] values.mean(0)" in done.stdout.replace("`", "")
    assert re.search(r"^\| all \| (\d) \| \1 \| 100% \|$", done.stdout, re.MULTILINE), done.stdout

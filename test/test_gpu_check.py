import importlib
import json
import subprocess
import sys

import pytest


@pytest.fixture
def gpu_check(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "tools"))
    return importlib.import_module("gpu_check")


@pytest.mark.slow(45)
def test_all_measurements_on_a_cpu_at_tiny_size(repo, tmp_path):
    command = [str(repo / "tools" / "gpu_check.sh"), "--device", "cpu", "--size", "tiny", "--parts", "parity", "tiny"]
    command += ["--work", str(tmp_path), "--output", str(tmp_path / "out.json"), "--minutes", "30"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["failed"] == {} and not any("error" in row for row in report["rows"])
    values = {goal["goal"]: goal for goal in report["goals"]}
    assert all(goal["value"] is not None for goal in values.values())
    # the CPU is compared with itself
    assert values["losses, largest difference of CPU and GPU"]["value"] == 0
    assert values["greedy captions that differ on CPU and GPU"]["met"]
    rows = {row["what"]: row for row in report["rows"] if "seconds" in row}
    assert len(rows) == 7
    for what, row in rows.items():
        assert row["seconds"] > 0 and row["utterances"] > 0, what
        # a bound cannot be beaten, but for noise in how it was measured
        assert all(0 < row[key] < 1.5 * row["seconds"] for key in ("products", "bandwidth") if key in row), what
        assert f"{what:46}"[:46] in done.stdout
    ours, theirs = rows["stage 7: decoding, as published, batch 2"], rows["stage 7: the published way, one by one"]
    times = ours["utterances"] / ours["seconds"] / theirs["utterances"] * theirs["seconds"]
    assert values["decoding as published, times as fast as the published way"]["value"] == pytest.approx(times)


@pytest.fixture
def parts_of(gpu_check, monkeypatch, tmp_path):
    """Runs programs of the test's own as parts, by the real command."""

    def of(minutes=1.0, budgets=None, **programs):
        (tmp_path / "parts.py").write_text(
            "import json, os, sys, time\npart = sys.argv[sys.argv.index('--part') + 1]\n"
            f"def emit(**row): print({gpu_check.MARK!r} + json.dumps(row), flush=True)\n"
            f"exec({programs!r}[part])\n"
        )
        monkeypatch.setattr(gpu_check, "__file__", str(tmp_path / "parts.py"))
        args = gpu_check.get_parser().parse_args(["--work", str(tmp_path), "--minutes", str(minutes)])
        return gpu_check.check(args, budgets or dict.fromkeys(programs, 20))

    return of


@pytest.mark.slow(8)
def test_a_part_that_fails_or_hangs_does_not_stop_the_others(parts_of, capfd):
    report = parts_of(
        budgets={"one": 20, "two": 2, "three": 20, "four": 20},
        one="emit(what='first', seconds=1.0, steps=2); sys.exit('no such thing')",
        two="emit(what='second', said='done'); time.sleep(600)",
        three="emit(what='third', error='RuntimeError: no')",
        four="emit(what='fourth', seconds=2.0, steps=4, tokens=10, memory=5e9, products=0.5)",
    )
    assert report["failed"] == {
        "one": "ended with status 1: no such thing",
        "two": "stopped after its budget of 2 s",
        "three, third": "RuntimeError: no",
    }
    assert [row["what"] for row in report["rows"]] == ["first", "second", "third", "fourth"]
    assert report["seconds"] < 30
    out = capfd.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("four"))
    assert line.split()[1:] == ["fourth", "500.0", "5", "0.0", "5.00", "25%", "-"]
    assert "goal open" in out and "failed: two: stopped after its budget of 2 s" in out


@pytest.mark.slow(8)
def test_parts_for_which_no_time_is_left(parts_of):
    report = parts_of(minutes=0.12, one="time.sleep(600)", two="emit(what='second', said='done')")
    assert report["failed"]["two"] == "no time was left" and report["seconds"] < 20


def test_goals(gpu_check):
    rows = [{"goal": name, "value": wanted} for name, (wanted, _) in gpu_check.GOALS.items()]
    assert all(goal["met"] for goal in gpu_check.judge(rows))
    rows = [
        {"goal": name, "value": wanted + (-1e-6 if side == "least" else 1e-6)}
        for name, (wanted, side) in gpu_check.GOALS.items()
    ]
    assert not any(goal["met"] for goal in gpu_check.judge(rows))
    assert [goal["met"] for goal in gpu_check.judge([])] == [None] * len(gpu_check.GOALS)


def test_budgets_fit_into_eight_minutes(gpu_check):
    assert sum(gpu_check.BUDGETS.values()) <= 480


@pytest.mark.slow(6)
def test_without_a_gpu_it_says_so(repo, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, str(repo / "tools" / "gpu_check.py"), "--part", "parity", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "--device cuda: no CUDA device here" in done.stderr
    assert "Traceback" not in done.stderr

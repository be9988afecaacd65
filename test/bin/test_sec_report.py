import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def folder(tmp_path):
    """A folder with exp/ as sec_score left it."""
    (tmp_path / "ref").write_text('u1 ["很高兴"]\nu2 ["悲伤"]\n', encoding="utf-8")
    for system, caption in (("sec_x/decode", "高兴"), ("random_caption", "平静")):
        out = tmp_path / "exp" / system / "test"
        out.mkdir(parents=True)
        (out / "captions").write_text(f'u1 ["{caption}"]\nu2 ["悲伤"]\n', encoding="utf-8")
        done = run(
            tmp_path, "score", "--ref", "ref", "--hyp", out / "captions", "--output", out / "score.json",
            "--metrics", "meteor", "rouge_l", "emotion_recall", env={"PATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    (tmp_path / "exp" / "sec_x" / "curves.tsv").write_text("1\ttrain\tloss\t2\n2\ttrain\tloss\t1\n")
    return tmp_path


def run(folder, verb, *args, env=None):
    command = [sys.executable, "-m", f"espnet2_secap.bin.sec_{verb}", *map(str, args)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | (env or {}), capture_output=True, text=True, timeout=120
    )


def test_report_of_what_was_scored(folder):
    (folder / "goals.json").write_text('{"sec_*": {"test": {"emotion_recall": [">=", 85]}}}')
    done = run(folder, "report", "--goals", "goals.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "exp" / "results.json").read_text())
    assert list(results) == ["sec_x/decode", "random_caption"]
    assert results["sec_x/decode"]["test"]["emotion_recall"] == {"mean": 100, "std": 0}
    assert results["random_caption"]["test"]["emotion_recall"] == {"mean": 50, "std": 0}
    assert results["random_caption"]["test"]["meteor"] == {"mean": None, "std": None}
    report = (folder / "exp" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| `sec_x/decode` | 1 | n/a (1) |" in report and "(1) METEOR: needs Java" in report
    assert "| `u1` | 很高兴 | 高兴 |" in report and "](images/training_curves.png)" in report
    assert (folder / "exp" / "images" / "training_curves.png").stat().st_size > 5000
    assert "Report: exp/RESULTS.md" in done.stdout and ">= 85" in done.stdout and "  met\n" in done.stdout


def test_picture_is_linked_from_wherever_the_report_lies(folder):
    done = run(folder, "report", "--output", "egs/RESULTS.md", "--examples", "0")
    assert done.returncode == 0, done.stderr
    report = (folder / "egs" / "RESULTS.md").read_text(encoding="utf-8")
    assert "](../exp/images/training_curves.png)" in report and "Captions of" not in report


def test_without_curves_there_is_no_picture(folder):
    (folder / "exp" / "sec_x" / "curves.tsv").unlink()
    done = run(folder, "report")
    assert done.returncode == 0 and "No training curves" in done.stdout
    assert not (folder / "exp" / "images").exists()
    assert "images" not in (folder / "exp" / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "args, message",
    [
        (["--expdir", "none"], "none: no such folder"),
        (["--expdir", "exp/sec_x/decode/test"], "expected"),
        (["--goals", "none.json"], "none.json: no such goals file"),
        (["--goals", "ref"], "ref: not goals"),
        (["--output", "ref/RESULTS.md"], "ref"),
    ],
)
def test_bad_input_is_one_line_and_the_earlier_report_stays(folder, args, message):
    (folder / "exp" / "RESULTS.md").write_text("earlier")
    done = run(folder, "report", *args)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert (folder / "exp" / "RESULTS.md").read_text() == "earlier"


def test_broken_files_are_named(folder):
    (folder / "exp" / "sec_x" / "curves.tsv").write_text("loss 3\n")
    done = run(folder, "report")
    assert done.returncode == 1 and "exp/sec_x/curves.tsv:1:" in done.stderr
    assert not (folder / "exp" / "results.json").exists()


def test_starts_without_heavy_imports():
    code = "import sys, espnet2_secap.bin.sec_report as s; s.get_parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    heavy = {"torch", "espnet2", "transformers", "matplotlib"}
    assert done.returncode == 0 and not heavy & set(done.stdout.split())

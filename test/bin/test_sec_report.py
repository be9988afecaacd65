import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile


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
    assert "\\textbf{100.00}" in (folder / "exp" / "RESULTS.tex").read_text(encoding="utf-8")
    page = (folder / "exp" / "RESULTS.html").read_text(encoding="utf-8")
    assert '<td class="number"><b>100.00</b></td>' in page and '"references":["很高兴"]' in page
    assert "<img src='data:image/png;base64," in page and "SECap #6" not in page
    assert "For a browser: exp/RESULTS.html" in done.stdout
    assert "Report: exp/RESULTS.md" in done.stdout and ">= 85" in done.stdout and "  met\n" in done.stdout


def test_picture_is_linked_from_wherever_the_report_lies(folder):
    done = run(folder, "report", "--output", "egs/RESULTS.md", "--examples", "0")
    assert done.returncode == 0, done.stderr
    report = (folder / "egs" / "RESULTS.md").read_text(encoding="utf-8")
    assert "](../exp/images/training_curves.png)" in report and "Captions of" not in report


def test_quoted_rows(folder):
    done = run(folder, "report", "--quote", "secap")
    assert done.returncode == 0, done.stderr
    for suffix, wanted in (("md", "| SECap #6 (Q-Embedding) † |"), ("tex", r"SECap \#6"), ("html", "SECap #6")):
        assert wanted in (folder / "exp" / f"RESULTS.{suffix}").read_text(encoding="utf-8")
    assert "SECap #6" not in (folder / "exp" / "results.json").read_text()
    assert "† quoted from Xu et al., AAAI 2024, Table 2" in done.stdout


def test_recordings_are_embedded_or_linked(folder):
    (folder / "dump").mkdir()
    (folder / "ref").rename(folder / "dump/captions")
    for meta in folder.glob("exp/**/score_meta.json"):
        meta.write_text(meta.read_text().replace('"ref": "ref"', '"ref": "dump/captions"'))
    soundfile.write(folder / "dump/u1.flac", np.sin(np.arange(16000) / 9), 16000)
    (folder / "dump/wav.scp").write_text("u1 dump/u1.flac\nu2 dump/gone.flac\n")
    for args, wanted in (([], "data:audio/mpeg;base64,"), (["--embed_audio", "0"], '../dump/u1.flac"')):
        assert run(folder, "report", *args).returncode == 0
        assert f'"audio":"{wanted}' in (folder / "exp" / "RESULTS.html").read_text(encoding="utf-8")


def test_comparison(folder):
    (folder / "exp" / "RESULTS.md").write_text("earlier")
    done = run(
        folder, "report", "--compare", "sec_x/decode", "random_caption", "--compare", "sec_x/decode", "sec_x/decode"
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads((folder / "exp" / "compare.json").read_text())
    assert (first["a"], first["b"], first["set"]) == ("sec_x/decode", "random_caption", "test")
    recall = first["metrics"]["emotion_recall"]
    # 100 and 100 against 0 and 100: of the resamples a quarter has no difference, a quarter 100
    assert (recall["difference"], recall["low"], recall["high"]) == (50, 0, 100)
    assert recall["p"] == pytest.approx(0.5, abs=0.02)
    assert second["metrics"]["rouge_l"]["difference"] == 0 and second["metrics"]["rouge_l"]["p"] == 1
    text = (folder / "exp" / "compare.md").read_text(encoding="utf-8")
    assert "| emotion recall | 100.00 | 50.00 | +50.00 | +0.00 to +100.00 |" in text and "Koehn" in text
    assert "METEOR is omitted: it needs Java" in done.stdout and "Numbers: exp/compare.json" in done.stdout
    assert (folder / "exp" / "RESULTS.md").read_text() == "earlier"
    done = run(
        folder, "report", "--compare", "sec_x/decode", "random_caption", "--output", "a/b.md", "--metrics", "rouge_l"
    )
    assert done.returncode == 0 and list(json.loads((folder / "a/b.json").read_text())[0]["metrics"]) == ["rouge_l"]


def test_comparison_over_seeds(folder):
    for seed in "01":
        shutil.copytree(folder / "exp" / "sec_x", folder / "exp" / f"x_s{seed}")
    done = run(folder, "report", "--compare", "x_s{seed}/decode", "x_s{seed}/decode", "--seeds", "0", "1")
    assert done.returncode == 0 and "seeds 0 1: A = x_s{seed}/decode" in done.stdout, done.stderr
    (one,) = json.loads((folder / "exp" / "compare.json").read_text())
    assert one["seeds"] == [0, 1] and one["metrics"]["rouge_l"]["difference"] == 0 and "rouge_l" in one["metrics"]
    assert "each resample also draws seeds" in (folder / "exp" / "compare.md").read_text(encoding="utf-8")
    done = run(folder, "report", "--compare", "sec_x/decode", "random_caption", "--together", "true")
    assert done.returncode == 0 and "Sets together are one set" in done.stdout


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
        (["--goals", "ref"], "ref: is not a goals file"),
        (["--output", "ref/RESULTS.md"], "ref"),
        (["--output", "page.html"], "must be the Markdown file"),
        (["--set", "test"], "can only be used with --compare"),
        (["--judge", "lm"], "--judge: can only be used with --compare"),
        (["--seeds", "0"], "--seeds, --together: can only be used with --compare"),
        (["--compare", "a", "b", "--together", "true", "--judge", "lm"], "leave --seeds and --together out"),
        (["--compare", "sec_x/decode", "random_caption", "--judge", "none/lm"], "none/lm"),
        (
            ["--compare", "sec_x/decode", "nobody"],
            "system 'nobody' has no scores; choose from: sec_x/decode, random_caption",
        ),
        (
            ["--compare", "sec_x/decode", "random_caption", "--metrics", "meteor"],
            "cannot be compared on test: it needs Java",
        ),
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

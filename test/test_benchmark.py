import json
import subprocess
import sys

import pytest


@pytest.mark.slow(15)
def test_all_parts_at_tiny_size(repo, tmp_path):
    command = [sys.executable, str(repo / "tools" / "benchmark.py"), "--size", "tiny", "--utterances", "2"]
    command += ["--batch_size", "2", "--threads", "1", "--work", str(tmp_path), "--output", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "out.json").read_text())
    assert list(report["parts"]) == [
        "features",
        "acoustic",
        "align",
        "caption",
        "distill",
        "prefer",
        "published",
        "ours",
    ]
    for runs in report["parts"].values():
        assert len(runs) == 1 and runs[0]["seconds"] > 0 and runs[0]["memory"] > 1e8
    assert report["parts"]["ours"][0]["tokens"] > 0
    assert report["parts"]["prefer"][0]["step_memory"] > 1e5
    assert f"decoding: {report['speedup']:.1f} times as many utterances per second as published" in done.stdout
    assert all(
        title in done.stdout for title in ("acoustic, one core", "a training step", "decoding as published", "peak GB")
    )

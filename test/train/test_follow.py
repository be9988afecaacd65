import signal
import subprocess
import sys
import time

from espnet2_secap.train.follow import epoch_line, follow

RESULT = (
    "[host] 2026-01-01 00:00:00,000 (trainer:394) INFO: 2epoch results: [train] iter_time=0.069, sccl=1.119, mi=0.2,"
    " loss=1.319, optim0_lr0=1e-4, time=20 seconds, total_count=25, [valid] loss=1.2, retrieval=0.31, time=2 seconds"
)


def test_epoch_line():
    assert epoch_line(RESULT, "20 seconds") == (
        "  epoch 2: train loss 1.319 sccl 1.119 mi 0.2, valid loss 1.2 retrieval 0.31 (20 seconds left)"
    )
    assert epoch_line("1/3epoch started") is None


def test_follows_the_new_log_only_and_returns_the_status(tmp_path, capfd):
    log = tmp_path / "train.log"
    log.write_text(RESULT.replace("2epoch", "7epoch") + "\n")
    write = (
        f"import os; os.rename({str(log)!r}, {str(log)!r} + '.1'); open({str(log)!r}, 'w').write({RESULT!r} + '\\n')"
    )
    assert follow(log, [sys.executable, "-c", f"{write}; raise SystemExit(3)"]) == 3
    shown = capfd.readouterr().out
    assert "epoch 2" in shown and "epoch 7" not in shown


def test_term_ends_the_training_and_its_children(tmp_path):
    child = tmp_path / "child"
    command = f"sleep 60 & echo $! > {child}; wait"
    follower = subprocess.Popen(
        [sys.executable, "-m", "espnet2_secap.bin.sec_follow", "--log", str(tmp_path / "l"), "--", "sh", "-c", command]
    )
    deadline = time.monotonic() + 20
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(timeout=20) == 128 + signal.SIGTERM
    pid = child.read_text().strip()
    alive = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    assert alive in ("", "Z", "Zs"), "the training's child is still running"

import signal
import sys

import pytest

from espnet2_secap.bin import sec_follow


def status_of(*args) -> int:
    with pytest.raises(SystemExit) as caught:
        sec_follow.main(list(args))
    return caught.value.code


@pytest.fixture(autouse=True)
def handlers():
    """follow() sets handlers for the rest of its program; here they must not outlive the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_status_is_the_command_s(tmp_path, capfd):
    line = "INFO: 3epoch results: [train] loss=1.5, [valid] loss=2"
    code = f"open({str(tmp_path / 'log')!r}, 'w').write({line!r} + chr(10)); raise SystemExit(5)"
    assert status_of("--log", str(tmp_path / "log"), "--", sys.executable, "-c", code) == 5
    assert capfd.readouterr().out == "  epoch 3: train loss 1.5, valid loss 2\n"


def test_a_signal_becomes_the_status_of_a_shell(tmp_path):
    assert status_of("--log", str(tmp_path / "log"), "--", "sh", "-c", "kill -9 $$") == 128 + 9


@pytest.mark.parametrize("words", [[], ["--"]])
def test_without_a_command(tmp_path, capsys, words):
    assert status_of("--log", str(tmp_path / "log"), *words) == 1
    assert "no command given: sec_follow --log LOG -- COMMAND" in capsys.readouterr().err

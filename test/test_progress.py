import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from espnet2_secap.progress import progress

LINE = r"work: (\d+)(/4)? in \d+\.\d s \(\d+\.\d/s(, \d+ s left)?\)"


def lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_items_pass_unchanged_and_the_last_line_has_the_total(capsys):
    assert list(progress([3, 1, 2, 0], desc="work")) == [3, 1, 2, 0]
    (line,) = lines(capsys)
    assert re.fullmatch(LINE, line)[1] == "4" and "left" not in line


def test_a_line_every_so_often_with_the_time_left(capsys):
    list(progress(range(4), desc="work", every=0.0))
    shown = lines(capsys)
    assert [re.fullmatch(LINE, line)[1] for line in shown] == ["1", "2", "3", "4", "4"]
    assert all(" s left" in line for line in shown[:3]) and all("/4 in" in line for line in shown)


def test_without_a_length_there_is_no_total(capsys):
    list(progress(iter("ab"), desc="work"))
    assert re.fullmatch(LINE, lines(capsys)[0])[2] is None
    list(progress(iter("ab"), total=4, desc="work"))
    assert "2/4 in" in lines(capsys)[0]


def test_nothing_to_do(capsys):
    assert list(progress([], desc="work")) == [] and lines(capsys)[0].startswith("work: 0 in")


def test_a_bar_on_a_terminal():
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # 24 lines of 80 columns
    code = "from espnet2_secap.progress import progress; print(sum(progress(range(5), desc='work')))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=child, text=True)
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # the end of what was written to a terminal that is closed
        while part := os.read(parent, 65536):
            shown += part
    os.close(parent)
    assert done.stdout == "10\n" and b"work: 100%" in shown

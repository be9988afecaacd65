import errno
import os

import pytest

from espnet2_secap.data.io import atomic_write
from espnet2_secap.errors import SecError, cli, shorten


def failing(error):
    @cli
    def main():
        raise error

    main.__wrapped__.__module__ = "espnet2_secap.bin.sec_x"
    return main


def refused(capsys, error) -> str:
    with pytest.raises(SystemExit) as caught:
        failing(error)()
    assert caught.value.code == 1
    return capsys.readouterr().err


def test_shorten_keeps_one_line_within_the_limit():
    assert shorten("a\nb\tc\x00") == "a?b?c?"
    assert shorten("x" * 80) == "x" * 80 and shorten("x" * 81) == "x" * 77 + "..."
    assert shorten("语" * 10, 5) == "语语..."


def test_bad_input_is_one_line_and_status_1(capsys):
    err = refused(capsys, SecError("data/text:3: has no id;\nadd one"))
    assert err.endswith("error: data/text:3: has no id;?add one\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    "number, name, hint",
    [
        (errno.ENOSPC, None, "output: No space left on device; free some space"),
        (errno.EACCES, "exp/x", "exp/x: Permission denied; make it readable and writable"),
        (errno.ENOENT, "exp/x", "exp/x: No such file or directory; check the path"),
        (errno.EISDIR, "exp", "exp: Is a directory; give the path of a file"),
    ],
)
def test_a_system_error_that_the_user_can_fix(capsys, number, name, hint):
    assert hint in refused(capsys, OSError(number, os.strerror(number), name))


def test_a_system_error_inside_a_library_in_rust(capsys):
    assert "No space left" in refused(capsys, RuntimeError("I/O error: something (os error 28)"))


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.EPIPE, "Broken pipe"), KeyError("os error")])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)):
        failing(error)()


def test_the_result_is_passed_on():
    assert cli(lambda value: value + 1)(2) == 3


def test_a_process_of_a_program_says_its_name(capsys):
    def main():
        raise SecError("exp: x")

    with pytest.raises(SystemExit):
        cli(main, "sec_train")()
    assert capsys.readouterr().err == "sec_train: error: exp: x\n"


@pytest.mark.parametrize("path", [".", ".."])
def test_a_folder_where_a_file_should_be_is_one_line(capsys, path):
    @cli
    def main():
        with atomic_write(path) as stream:
            stream.write("x")

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and "give the path of a file" in capsys.readouterr().err

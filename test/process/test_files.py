"""A file is written as a whole or not at all, and errors of the system name it."""

import os
import subprocess

import pytest

from espnet2_secap.data.io import read_kaldi, write_kaldi
from espnet2_secap.errors import SecError
from espnet2_secap.process.files import atomic_write, make_dir


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    write_kaldi(tmp_path / "text", {"a": "old"})
    with pytest.raises(KeyError), atomic_write(tmp_path / "text") as stream:
        stream.write("half")
        raise KeyError("x")
    assert os.listdir(tmp_path) == ["text"]
    assert read_kaldi(tmp_path / "text") == {"a": "old"}


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    write_kaldi(tmp_path / "text", {"a": "old"})
    with atomic_write(tmp_path / "text", "wb") as stream:
        stream.write(b"a new\n")
        stream.flush()
        assert read_kaldi(tmp_path / "text") == {"a": "old"}
    assert read_kaldi(tmp_path / "text") == {"a": "new"}


def test_what_a_killed_process_left_is_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (f"text.tmp.{dead.pid}", f"text2.tmp.{dead.pid}", f"text.tmp.{os.getppid()}", "text.tmp.x"):
        (tmp_path / name).write_text("half")
    write_kaldi(tmp_path / "text", {"a": "new"})
    # Another file's, one that a living process writes, and what is not ours stay.
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["text", f"text2.tmp.{dead.pid}", f"text.tmp.{os.getppid()}", "text.tmp.x"]
    )


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    for attempt in (
        lambda: make_dir(tmp_path / "file" / "sub"),
        lambda: write_kaldi(tmp_path / "file" / "t", {"a": 1}),
    ):
        with pytest.raises(SecError, match=f"{tmp_path / 'file'}.*choose another path"):
            attempt()


def test_a_folder_that_is_missing_is_named_as_the_file_not_as_its_part(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write_kaldi(tmp_path / "no" / "text", {"a": 1})
    assert error.value.filename == str(tmp_path / "no" / "text")

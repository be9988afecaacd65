"""sec_lock's command line; test/process/test_lock.py takes the lock from real scripts."""

import errno
import fcntl
import os

import pytest

from espnet2_secap.bin import sec_lock

pytestmark = pytest.mark.needs("proc")


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (tmp_path / "lock").open("w+") as stream:
        options = ["--fd", str(stream.fileno()), "--file", "lock", "--pid", str(os.getpid())]
        sec_lock.main(options)
        said = capsys.readouterr()
        assert "warning: lock: its file system does not support locks" in said.err and f":{os.getpid()}:" in said.out
        with pytest.raises(SystemExit):  # it still sees who wrote the file
            sec_lock.main(options)
        assert f"in use by process {os.getpid()} on" in capsys.readouterr().err


def test_a_descriptor_that_is_not_open(capsys):
    with pytest.raises(SystemExit):
        sec_lock.main(["--fd", "987", "--file", "lock"])
    assert 'open it in the script with exec {lock_fd}<>"lock"' in capsys.readouterr().err

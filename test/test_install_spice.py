"""tools/installers/install_spice.sh, with a Maven that fetches nothing: what it leaves, and what it says."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from espnet2_secap.metric.spice import JARS

SCRIPT = Path(__file__).resolve().parents[1] / "tools/installers/install_spice.sh"
FETCH = """
for option; do case ${option} in
    -Dartifact=*) IFS=: read -r _ name version _ classifier <<< "${option#-Dartifact=}" ;;
    -DoutputDirectory=*) folder=${option#-DoutputDirectory=} ;;
esac; done
echo jar > "${folder}/${name}-${version}${classifier:+-${classifier}}.jar"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Run the script with this text as mvn (None: there is none); returns its status, output and the folder's files."""
    for name in ("bash", "mkdir", "mv", "rm", "grep", "tail", "timeout", "dirname", "readlink", "sleep"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("SEC_SPICE", str(tmp_path / "spice"))

    def run(mvn, java="exit 0", wait=True):
        for name, text in (("mvn", mvn), ("java", java)):
            (tmp_path / "bin" / name).unlink(missing_ok=True)
            if text is not None:
                (tmp_path / "bin" / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
                (tmp_path / "bin" / name).chmod(0o755)
        process = subprocess.Popen(
            [SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err, sorted(os.listdir(tmp_path / "spice"))

    (tmp_path / "spice").mkdir()
    return run


def test_gets_what_spice_wants_and_nothing_twice(install):
    status, out, err, files = install(FETCH)
    assert (status, err, files) == (0, "", sorted(JARS)) and "spice" in out
    assert install("exit 1", java=None) == (0, "", "", sorted(JARS))


@pytest.mark.parametrize(
    "mvn, java, reason",
    [
        (None, "exit 0", "needs Maven"),
        (FETCH, None, "needs Java"),
        (
            "echo INFO; echo '[ERROR] no route'; echo '[ERROR] more'; exit 1",
            "exit 0",
            "not download edu.*no route",
        ),
        ("echo killed; exit 1", "exit 0", "could not download edu.*killed"),
    ],
)
def test_one_line_says_why_not(install, mvn, java, reason):
    status, out, err, files = install(mvn, java)
    assert status == 1 and not files
    assert len(err.splitlines()) == 1 and err.startswith("install_spice.sh: SPICE is not installed: ")
    assert re.search(reason, err)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_leaves_no_half_file(install, tmp_path, number):
    started = tmp_path / "started"
    process = install(f'{FETCH}\n[[ ${{name}} != rhino ]] || {{ : > "{started}"; sleep 60; }}', wait=False)
    while not started.exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    files = os.listdir(tmp_path / "spice")
    assert {name for name in files if not name.startswith(".")} == set(JARS[:2])
    assert install(FETCH)[3] == sorted(JARS)  # and the next run removes what was left

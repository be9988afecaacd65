"""utils/slurm.pl: the call and the configuration, which need no Slurm."""

import shutil
import subprocess

import pytest
from wrappers import REPO, SLURM_CONF, refused

PERL = shutil.which("perl")


@pytest.fixture
def call(tmp_path):
    """Call slurm.pl where no sbatch is on PATH, with this conf/slurm.conf; -> the error with which it ends."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "here/conf").mkdir(parents=True)

    def run(*args, conf=SLURM_CONF):
        (tmp_path / "here/conf/slurm.conf").write_text(conf)
        done = subprocess.run(
            [PERL, REPO / "utils/slurm.pl", *args],
            cwd=tmp_path / "here",
            env={"PATH": str(tmp_path / "bin")},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert [path.name for path in (tmp_path / "here").iterdir()] == ["conf"], "nothing is left behind"
        return refused(done, "slurm.pl")

    return run


def test_help():
    done = subprocess.run([REPO / "utils/slurm.pl", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "slurm.pl JOB=1:4" in done.stdout and "--config FILE" in done.stdout


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["JOB=3:1", "x.JOB.log", "true"], "JOB=3:1"),
        (["JOB=1:2", "x.log", "true"], "x.log"),
        (["--num_nodes", "none", "x.log", "true"], "--num_nodes"),
        (["--kill_wait", "soon", "x.log", "true"], "--kill_wait"),
        (["x.log"], "COMMAND"),
        (["--queue", "long", "x.log", "true"], "--queue is not declared in conf/slurm.conf"),
        (["--config", "conf/none.conf", "x.log", "true"], "'conf/none.conf': No such file"),
    ],
)
def test_bad_calls(call, args, named):
    assert named in call(*args)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("option mem", "'option mem'"),
        ("option mem=", "'option mem='"),
        ("option =* --mem=$0", "'option =* --mem=$0'"),
        ("mem=* --mem=$0", "'mem=* --mem=$0'"),
        ("default mem=8G 9G", "'default mem=8G 9G'"),
        ("command sbatch -v", "a second command: 'command sbatch -v'"),
        ("option mem=* --comment='$0", "unbalanced quotes"),
    ],
)
def test_a_bad_line_is_named(call, line, named):
    message = call("x.log", "true", conf=f"# mine\ncommand sbatch\n{line} # no\n")
    assert "conf/slurm.conf, line 3: " in message and named in message


def test_other_faults_of_the_configuration(call):
    assert "conf/slurm.conf: no line 'command sbatch ...'" in call("x.log", "true", conf="default mem=1G\n")
    assert "default for 'mem', but no line 'option mem=" in call("x.log", "true", conf="command x\ndefault mem=1G\n")
    conf = "command x\noption gpu=0 --partition=cpu\noption gpu=1 --partition=gpu\n"
    assert "--gpu 2: conf/slurm.conf has no line for this value" in call("--gpu", "2", "x.log", "true", conf=conf)


def test_without_slurm(call):
    assert "sbatch failed: cannot start sbatch" in call("log/deep/x.log", "true")

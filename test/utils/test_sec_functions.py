"""utils/sec_functions.sh: the table of stages, by a real script that calls its functions as sec.sh does."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wrappers import REPO, alive, needs_proc

PYTHON = Path(sys.executable).parent
SCRIPT = r"""
set -euo pipefail
expdir=exp stage=1 stop_stage=8
train_cmd=${CMD:-run.pl} cuda_cmd=run.pl decode_cmd=run.pl
. "${ROOT}/utils/sec_functions.sh"
exec {lock_fd}<>lock
SEC_RUN=$(python3 -m espnet2_secap.bin.sec_lock --fd "${lock_fd}" --file lock --pid $$) || exit 1
export SEC_RUN
mkdir -p exp
hold() { python3 -c "import sys, time; block = bytearray($1 * 10**6); time.sleep($2)"; }
"""


def start(folder: Path, body: str, **environment) -> subprocess.Popen:
    env = {**os.environ, "PATH": f"{PYTHON}:{os.environ['PATH']}", "PYTHONPATH": str(REPO), "ROOT": str(REPO)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    (folder / "script.sh").write_text(SCRIPT + body)
    return subprocess.Popen(["bash", "script.sh"], cwd=folder, env=env | environment, **options)


def run(folder: Path, body: str, **environment) -> tuple[int, list[str], str]:
    """A script with this body -> its status, the lines of its standard output, its standard error."""
    process = start(folder, body, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.splitlines(), err


def watchers(folder: Path) -> list[int]:
    """The processes that measure for a script in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"sec_stages" in (path / "cmdline").read_bytes() and (path / "cwd").resolve() == folder.resolve():
                found.append(int(path.name))
        except OSError:
            continue
    return [pid for pid in found if alive(pid)]


@needs_proc
@pytest.mark.slow(6)
def test_the_table_tells_wall_time_and_peak_memory_of_each_stage(tmp_path):
    status, lines, err = run(tmp_path, 'stage_begins 2 "small"; hold 50 3; stage_begins 5 "large"; hold 300 3')
    assert (status, err) == (0, "")
    assert re.fullmatch(r"\d\d:\d\d:\d\d Stage 2: small", lines[0])
    header, two, five, total = lines[2:]
    assert header.split() == ["stage", "wall", "peak", "memory"]
    for line, name, low, high in ((two, ["2", "small"], 0.05, 0.2), (five, ["5", "large"], 0.3, 0.5)):
        *words, wall, memory, unit = line.split()
        assert words == name and unit == "GB" and low <= float(memory) <= high, line
        assert 3 <= int(wall.split(":")[2]) <= 12, line
    assert total.split()[0] == "all" and total.split()[2] == five.split()[3]
    assert watchers(tmp_path) == []


def test_a_failing_run_prints_what_ran_and_keeps_its_status(tmp_path):
    status, lines, err = run(tmp_path, 'stage_begins 1 "corpus"; stage_begins 2 "audio"; die "no audio"; echo never')
    assert (status, err) == (1, "sec.sh: error: no audio\n")
    assert [line.split()[:2] for line in lines[-4:]] == [
        ["stage", "wall"],
        ["1", "corpus"],
        ["2", "audio"],
        lines[-1].split()[:2],
    ]
    assert "audio (ended with status 1)" in lines[-2] and "never" not in lines


@pytest.mark.slow(10)
def test_a_run_that_is_told_to_end_prints_it_too(tmp_path):
    process = start(tmp_path, 'stage_begins 6 "training"; sleep 20 > /dev/null 2>&1')
    assert "Stage 6: training" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM and "    6  training  0:00:" in out, err


def test_without_a_stage_there_is_no_table(tmp_path):
    assert run(tmp_path, 'runs 9 false || die "nothing to do"') == (1, [], "sec.sh: error: nothing to do\n")


def test_on_slurm_memory_is_not_available(tmp_path):
    status, lines, err = run(tmp_path, 'stage_begins 3 "features"; sleep 2', CMD="slurm.pl --config conf/slurm.conf")
    assert (status, err) == (0, "") and lines[-1].split()[-1] == "n/a"


@needs_proc
def test_it_ends_with_a_run_that_is_killed_and_leaves_the_lock(tmp_path):
    process = start(tmp_path, 'stage_begins 4 "statistics"; read -r line')
    process.stdout.readline()
    end = time.monotonic() + 60
    while not watchers(tmp_path):
        assert time.monotonic() < end
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while watchers(tmp_path):
        assert time.monotonic() < end, "it measures a run that has ended"
    process.communicate()
    status, lines, err = run(tmp_path, 'stage_begins 4 "statistics"')
    assert (status, err) == (0, ""), "the next run finds nothing left behind"
    assert len(lines) == 3, "the table holds this run alone"


def test_a_record_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    (tmp_path / "exp" / ".stages.tsv").mkdir(parents=True)
    status, lines, err = run(tmp_path, 'stage_begins 1 "corpus"; echo done')
    assert status == 0 and lines[-1] == "done" and "sec_stages: error: exp/.stages.tsv" in err


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", []),
        ("  \t\n ", []),
        ("--a b  --c\nd", ["--a", "b", "--c", "d"]),
        ("--prompt 'two words' --x", ["--prompt", "two words", "--x"]),
        ('--prompt "it\'s a \\ $HOME `id` *" y', ["--prompt", "it's a \\ $HOME `id` *", "y"]),
        ("--p='a b' --conf path='/x y/z' k=v='c d'", ["--p=a b", "--conf", "path=/x y/z", "k=v=c d"]),
        ('--encoder_conf {"layer":6} don\'t', ["--encoder_conf", '{"layer":6}', "don't"]),
        ("--encoder_conf '{\"layer\": 6}'", ["--encoder_conf", '{"layer": 6}']),
        ("--prompt '' --x \"\"", ["--prompt", "", "--x", ""]),
        ("$(touch made) ; * ~ \\n", ["$(touch", "made)", ";", "*", "~", "\\n"]),
    ],
)
def test_options_with_blanks_inside_are_quoted_and_nothing_is_expanded(tmp_path, value, words):
    status, lines, err = run(tmp_path, 'split "${VALUE}"; printf "%s\n" ${#parts[@]} "${parts[@]}"', VALUE=value)
    assert (status, err) == (0, "") and lines == [str(len(words)), *words]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", ["--prompt 'two words", '--p="a b', "--p 'a'b"])
def test_a_quotation_mark_that_is_not_closed_is_an_error(tmp_path, value):
    status, lines, err = run(tmp_path, 'split "${VALUE}" --inference_args; echo no', VALUE=value)
    assert status == 1 and err.startswith(f"sec.sh: error: --inference_args {value}: a quotation mark") and not lines


SETS = "zero_shot_sets=${ZERO_SHOT:-} folds= speed_perturb= noise_snr= augment= local_data_opts= format_args= "
SETS += "extract_args= align_args= caption_args= inference_args= score_args=; "


@pytest.mark.parametrize(
    ("train", "valid", "tests", "expected"),
    [
        ("train", "valid", "test", "test | train valid test | train valid test"),
        ("train", "valid", "valid test", "valid test | train valid test | train test test"),
        ("train", "valid", " test\n test  more ", "test more | train valid test more | train valid test test"),
        ("all", "all", "all test", "all test | all test | train test"),
        ("train", "valid", "", " | train valid | train valid"),
    ],
)
def test_a_set_that_several_options_name_is_there_once(tmp_path, train, valid, tests, expected):
    body = SETS + (
        "train_set=${TRAIN} valid_set=${VALID} test_sets=${TESTS}; read_sets; roles=; "
        'for dset in "${sets[@]}"; do roles+=" $(role_of "${dset}")"; done; echo "${tests[*]} | ${sets[*]} |${roles}"'
    )
    status, lines, err = run(tmp_path, body, TRAIN=train, VALID=valid, TESTS=tests)
    assert (status, err, lines) == (0, "", [expected])


def test_sets_of_other_corpora_have_a_name_and_a_folder(tmp_path):
    """They are test sets in all but the probes; the folder is read where others have data/SET."""
    body = SETS + (
        "train_set=train valid_set=valid test_sets='test test'; read_sets; "
        'echo "${tests[*]} | ${own_tests[*]} | ${sets[*]} | ${fed_sets[*]} | $(role_of male)"; '
        'for dset in "${sets[@]}"; do source_of "${dset}"; done'
    )
    folders = "../../mini_zeroshot/sec1/data/male  other=/corpora/x=y/test /a/b=c/noisy/"
    status, lines, err = run(tmp_path, body, ZERO_SHOT=folders)
    assert (status, err) == (0, "")
    assert lines == [
        "test male other noisy | test | train valid test male other noisy | train valid test male other noisy | test",
        "data/train",
        "data/valid",
        "data/test",
        "../../mini_zeroshot/sec1/data/male",
        "/corpora/x=y/test",
        "/a/b=c/noisy/",
    ]


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        ("noise", "train_aug_noise"),
        ("noise=5,15 reverb+telephone", "train_aug_noise5_15_reverb+telephone"),
        ("reverb=0.3,0.9+noise=-5   telephone", "train_aug_reverb0.3_0.9+noise-5_telephone"),
    ],
)
def test_the_name_of_a_training_set_with_distorted_copies(tmp_path, augment, expected):
    body = SETS + "augment=${AUGMENT} train_set=train valid_set=valid test_sets=test; read_sets; echo ${fed_sets[*]}"
    status, lines, err = run(tmp_path, body, AUGMENT=augment)
    assert (status, err, lines) == (0, "", [f"{expected} valid test"])


@pytest.mark.parametrize(
    "reads, told", [("queries", "- - q"), ("queries clues", "- c q"), ("transcript clues", "t c -")]
)
def test_what_the_decoder_reads(tmp_path, reads, told):
    body = (
        f'lm_reads="{reads}"; reads_text && a=t || a=-; reads_clues && b=c || b=-; hears && c=q || c=-; echo $a $b $c'
    )
    assert run(tmp_path, body)[1] == [told]

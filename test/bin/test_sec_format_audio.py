"""Stage 2 with everything that can be wrong with its input, and with the place it writes to."""

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.bin.sec_format_audio import main

PROGRAM = [sys.executable, "-m", "espnet2_secap.bin.sec_format_audio"]


def noise(seconds, rate=16000, seed=0):
    """(samples,) float."""
    return np.random.default_rng(seed).standard_normal(int(seconds * rate)) * 0.1


def make_data(folder, num, rate=16000, seconds=0.3):
    """folder/data with `num` utterances u00, u01, ...; paths relative to `folder`."""
    (folder / "data").mkdir(parents=True)
    (folder / "wavs").mkdir()
    ids = [f"u{number:02d}" for number in range(num)]
    for number, utt_id in enumerate(ids):
        sf.write(folder / "wavs" / f"{utt_id}.wav", noise(seconds, rate, number), rate)
    (folder / "data" / "wav.scp").write_text("".join(f"{i} wavs/{i}.wav\n" for i in ids))
    (folder / "data" / "captions").write_text("".join(f"{i} {json.dumps([i])}\n" for i in ids))
    return ids


def args(*more, role="train", output="dump"):
    return ["--data_dir", "data", "--output_dir", output, "--role", role, *more]


def fails(capsys, *more, **options):
    """Run in this process; the one line it ends with."""
    with pytest.raises(SystemExit) as status:
        main(args(*more, **options))
    assert status.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    return errors[0]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path, 4)
    return tmp_path


def test_jobs_then_combine(place, capsys):
    for job in ("1", "2"):
        main(args("--nj", "2", "--job", job))
    main(args("--nj", "2", "--combine", "true"))
    assert capsys.readouterr().out == "dump: 4 utterances, 0.00 h at 16000 Hz\n"
    assert (place / "dump" / "wav.scp").read_text().splitlines()[2] == "u02 dump/data/format.1/u02.wav"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("wav.scp", None, "data/wav.scp: does not exist"),
        ("wav.scp", b"", "data/wav.scp: is empty"),
        ("wav.scp", b"u01 wavs/u01.wav\nu00 wavs/u00.wav\n", "data/wav.scp:2: u00: not in byte order"),
        ("wav.scp", b"u00 wavs/u00.wav\nu00 wavs/u01.wav\n", "data/wav.scp:2: u00: the id is there twice"),
        ("wav.scp", b"u00 wavs/u00.wav\r\n", "data/wav.scp:1: u00: ends with CRLF"),
        ("wav.scp", b"\xef\xbb\xbfu00 wavs/u00.wav\n", "data/wav.scp:1: begins with a byte order mark"),
        ("wav.scp", b"u00 wavs/u00.wav\n", "data/captions:2: u01: is not in wav.scp"),
        ("wav.scp", b"u00 cat wavs/u00.wav |\n", "data/wav.scp:1: u00: is a command"),
        ("wav.scp", b"u" * 300 + b" wavs/u00.wav\n", "an id may not be longer than 200 bytes"),
        ("captions", b'u00 ["x"]\nu01 ["x"]\nu02 ["x"]\n', "data/captions: u03: is missing"),
        ("captions", b'u00 ["x"]\nu01 x\nu02 ["x"]\nu03 ["x"]\n', "data/captions:2: u01: is not JSON"),
        ("captions", b'u00 ["x"]\nu01 []\nu02 ["x"]\nu03 ["x"]\n', "data/captions:2: u01: has no caption"),
        (
            "captions",
            b'u00 ["x"]\nu01 [""]\nu02 ["x"]\nu03 ["x"]\n',
            "data/captions:2: u01: has an empty caption",
        ),
        ("captions", b"", "data/captions: is empty"),
        ("utt2spk", b"u00 s x\nu01 s\nu02 s\nu03 s\n", "data/utt2spk:1: u00: has 2 values"),
    ],
)
def test_a_bad_data_directory_is_refused_and_the_earlier_output_stays(place, capsys, name, content, said):
    main(args())
    main(args("--combine", "true"))
    before = contents(place / "dump")
    outside = set(os.listdir(place))
    if content is None:
        (place / "data" / name).unlink()
    else:
        (place / "data" / name).write_bytes(content)
    capsys.readouterr()
    for more in ([], ["--combine", "true"]):
        line = fails(capsys, *more)
        assert line.startswith("sec_format_audio: error: data/")
        assert said in line
    assert contents(place / "dump") == before
    assert set(os.listdir(place)) == outside


def spoil(kind, path):
    samples = noise(1)
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:4000])
    elif kind == "not audio":
        path.write_text("<html>404</html>")
    elif kind == "all zeros":
        sf.write(path, samples * 0, 16000)
    elif kind == "0.01 s":
        sf.write(path, samples[:160], 16000)
    elif kind == "3 h":
        size = 3 * 3600 * 32000
        head = path.read_bytes()[:40] + size.to_bytes(4, "little")
        path.write_bytes(head)
        os.truncate(path, 44 + size)  # a hole, not data
    elif kind == "NaN":
        samples[5] = np.nan
        sf.write(path, samples, 16000, subtype="FLOAT")


KINDS = {
    "missing": "does not exist",
    "empty": "is an empty file",
    "cut short": "is cut short",
    "not audio": "is not audio",
    "all zeros": "is silent",
    "0.01 s": "is too short: 0.0100 s",
    "3 h": "is too long: 10800 s",
    "NaN": "has NaN",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_recording_is_left_out_of_train_and_an_error_in_test(place, capsys, kind):
    spoil(kind, place / "wavs" / "u02.wav")
    main(args(output="dump/train"))
    main(args("--combine", "true", output="dump/train"))
    told = capsys.readouterr().out
    assert "dump/train: 3 utterances" in told
    assert f"1 left out ({KINDS[kind].split(': ')[0]}" in told
    (bad,) = (place / "dump" / "train" / "bad_utts.tsv").read_text().splitlines()
    assert bad.startswith(f"u02\twavs/u02.wav: {KINDS[kind]}")
    assert "u02" not in (place / "dump" / "train" / "captions").read_text()

    main(args(role="test", output="dump/test"))
    line = fails(capsys, "--combine", "true", role="test", output="dump/test")
    assert f"1 of 4 test utterances cannot be used (u02: wavs/u02.wav: {KINDS[kind]}" in line
    assert (place / "dump" / "test" / "bad_utts.tsv").read_text().startswith("u02\t")
    assert not (place / "dump" / "test" / "wav.scp").exists()


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("stereo", "note: 1 2 channels averaged"),
        ("8 kHz", "note: 1 upsampled from 8000 Hz"),
        ("24-bit", None),
    ],
)
def test_odd_recordings_are_used(place, capsys, kind, note):
    samples = noise(1)
    if kind == "stereo":
        samples = np.stack([samples, samples], axis=1)
    rate = 8000 if kind == "8 kHz" else 16000
    sf.write(place / "wavs" / "u02.wav", samples, rate, subtype="PCM_24" if kind == "24-bit" else "PCM_16")
    main(args(role="test"))
    main(args("--combine", "true", role="test"))
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("dump: 4 utterances")
    assert (told[1:] == []) if note is None else told[1].startswith(note)
    info = sf.info(place / "dump" / "data" / "format.1" / "u02.wav")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")


def test_all_recordings_gone_leaves_the_earlier_output(place, capsys):
    main(args())
    main(args("--combine", "true"))
    before = {k: v for k, v in contents(place / "dump").items() if ".jobs" not in k and "bad" not in k}
    shutil.rmtree(place / "wavs")
    main(args())
    assert "no utterance can be used (u00: wavs/u00.wav: does not exist" in fails(capsys, "--combine", "true")
    after = {k: v for k, v in contents(place / "dump").items() if ".jobs" not in k and "bad" not in k}
    assert after == before


def test_combine_before_the_jobs(place, capsys):
    main(args("--nj", "2"))
    line = fails(capsys, "--nj", "2", "--combine", "true")
    assert "dump: job(s) 2 of 2: not finished; run them again (stage 2), finished work is kept" in line


@pytest.mark.parametrize(("job", "said"), [("0", "at least 1"), ("3", "between 1 and 2 (--nj)")])
def test_a_job_that_is_none(place, capsys, job, said):
    assert f"--job {job}: must be {said}" in fails(capsys, "--nj", "2", "--job", job)


def test_an_output_folder_that_cannot_be_made(place, capsys):
    (place / "file").write_text("precious")
    line = fails(capsys, output="file/dump")
    assert "file/dump" in line
    assert "choose another path" in line
    assert (place / "file").read_text() == "precious"


def without_root_rights():
    """Before a program starts: folders that root may not write to by their mode are closed to it, too."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if os.geteuid() == 0 and prctl(24, right, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            os._exit(77)


def run_without_root_rights(*more):
    done = subprocess.run([*PROGRAM, *args(*more)], capture_output=True, text=True, preexec_fn=without_root_rights)
    if done.returncode == 77:
        pytest.skip("needs a user other than root, or the right to drop root's")
    return done


def test_no_permission_in_the_output_folder(place):
    main(args())
    main(args("--combine", "true"))
    before = contents(place / "dump")
    closed = [place / "dump", place / "dump" / ".jobs", place / "dump" / "data" / "format.1"]
    for folder in closed:
        folder.chmod(0o500)
    try:
        for more in ([], ["--combine", "true"]):
            done = run_without_root_rights(*more)
            assert done.returncode == 1
            (line,) = [line for line in done.stderr.splitlines() if "error" in line]
            assert "dump/" in line
            assert "Permission denied; make it readable and writable" in line
            assert "Traceback" not in done.stderr
    finally:
        for folder in closed:
            folder.chmod(0o700)
    assert contents(place / "dump") == before


def test_a_recording_without_permission_is_left_out(place):
    (place / "wavs" / "u01.wav").chmod(0)
    assert run_without_root_rights().returncode == 0
    main(args("--combine", "true"))
    bad = (place / "dump" / "bad_utts.tsv").read_text()
    assert bad.startswith("u01\twavs/u01.wav: cannot be read (Permission denied); fix the path or its permissions")


def test_a_limit_on_file_sizes(place):
    main(args())
    main(args("--combine", "true"))
    before = contents(place / "dump" / "data")
    sf.write(place / "wavs" / "u03.wav", noise(3), 16000)  # 96 kB; the others have 9.6 kB
    limit = 50000
    done = subprocess.run(
        [*PROGRAM, *args()],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    assert "dump/data/format.1/u03.wav: File too large; the limit for file sizes" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(place / "dump" / "data") == before


def small_disk(script):
    """Run a shell script that has a disk of 512 kB at ./small, seen by nobody else."""
    mount = "mkdir -p small && mount -t tmpfs -o size=512k none small && "
    flags = "-m" if os.geteuid() == 0 else "-rm"
    return subprocess.run(["unshare", flags, "sh", "-c", mount + script], capture_output=True, text=True)


def test_no_space_left(place):
    if not shutil.which("unshare") or small_disk("true").returncode != 0:
        pytest.skip("needs unshare and the right to mount a tmpfs, to have a disk that is full")
    (place / "big").mkdir()
    for number in range(4):  # new recordings for all four, of which only two have room
        sf.write(place / "big" / f"u0{number}.wav", noise(6, seed=10 + number), 16000)
    run = " ".join([*PROGRAM, *args(output="small/dump")])
    done = small_disk(
        f"{run} && {run} --combine true && cp -r small/dump before && cp big/* wavs && {run};"
        " echo status $?; cp -r small/dump after"
    )
    assert "status 1" in done.stdout
    assert "No space left on device; free some space" in done.stderr
    assert "small/dump/data/format.1/u0" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    before, after = contents(place / "before"), contents(place / "after")
    assert before["wav.scp"] == after["wav.scp"]
    assert {k for k in before if k.startswith("data")} == {k for k in after if k.startswith("data")}
    for name in after:  # each whole: the old one, or the new one
        if name.startswith("data"):
            assert len(after[name]) in (44 + 9600, 44 + 192000)
            assert int.from_bytes(after[name][40:44], "little") == len(after[name]) - 44


def test_a_killed_run_started_again_gives_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    make_data(whole, 90, rate=24000, seconds=2)
    shutil.copytree(whole, killed)
    for path in (whole / "wavs").iterdir():  # copytree keeps times, but make sure
        os.utime(killed / "wavs" / path.name, ns=(path.stat().st_mtime_ns,) * 2)
    for more in ([], ["--combine", "true"]):
        subprocess.run([*PROGRAM, *args(*more)], cwd=whole, check=True, capture_output=True)

    audio = killed / "dump" / "data" / "format.1"
    rng = np.random.default_rng(time.time_ns())
    for wanted in (1, 30, 60):
        process = subprocess.Popen([*PROGRAM, *args()], cwd=killed, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(audio.glob("*.wav"))) < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        assert process.poll() is None
        process.kill()
        process.wait()
        done = subprocess.run([*PROGRAM, *args("--combine", "true")], cwd=killed, capture_output=True, text=True)
        assert "job(s) 1 of 1: not finished" in done.stderr
    first = min(audio.glob("*.wav"))
    inode = first.stat().st_ino
    (audio / "u89.wav.tmp.12345").write_bytes(b"RIFF")  # what a kill in the middle of a write leaves
    for more in ([], ["--combine", "true"]):
        subprocess.run([*PROGRAM, *args(*more)], cwd=killed, check=True, capture_output=True)
    assert contents(killed / "dump") == contents(whole / "dump")
    assert first.stat().st_ino == inode  # taken over, not made again

"""Recordings that commands make: allowed by name only, bad where the command is, run again where its text changed."""

import hashlib
import os
import re
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.bin.sec_format_audio import main
from espnet2_secap.bin.sec_validate_data import main as validate
from espnet2_secap.data import pipe
from espnet2_secap.data.audio import BadAudio
from espnet2_secap.data.pipe import run_command, stamp


def args(*more, role="train"):
    return ["--data_dir", "data", "--output_dir", "dump", "--role", role, *more]


ALLOW = ("--allow_pipes", "true")


def write_scp(**entries):
    os.makedirs("data", exist_ok=True)
    for name, value in (("wav.scp", entries), ("captions", dict.fromkeys(entries, '["x"]'))):
        with open(f"data/{name}", "w", encoding="utf-8") as stream:
            stream.writelines(f"{utt} {one}\n" for utt, one in sorted(value.items()))


def run(*more, role="train"):
    main(args(*more, role=role))
    main(args(*more, "--combine", "true", role=role))


def bad_utts() -> dict[str, str]:
    with open("dump/bad_utts.tsv", encoding="utf-8") as stream:
        return dict(line.rstrip("\n").split("\t") for line in stream)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).standard_normal(8000) * 0.1
    sf.write("a b.wav", noise, 16000)
    sf.write("c.flac", noise[:6000], 16000)
    sf.write("half.wav", noise, 8000)
    return tmp_path


@pytest.mark.parametrize("entry", ["touch ran; cat 'a b.wav' |", "| touch ran", "touch ran|", "touch ran |  "])
def test_refused_by_default(place, capsys, entry):
    write_scp(u0="c.flac", u1=entry)
    for program, options in ((main, args()), (main, args("--combine", "true")), (validate, ["data"])):
        with pytest.raises(SystemExit) as end:
            program(options)
        assert end.value.code == 1
        err = capsys.readouterr().err
        assert "data/wav.scp:2: u1: is a command (pipe)" in err and "--allow_pipes true" in err
    assert not os.path.exists("ran") and not os.path.exists("dump")


def test_run_where_allowed(place, capsys):
    write_scp(a="cat 'a b.wav' |", b="| cat c.flac | cat", c="c.flac", d="cat half.wav|", e="echo hi >&2; cat c.flac |")
    run(*ALLOW)
    for utt, source in (("a", "a b.wav"), ("b", "c.flac"), ("c", "c.flac"), ("e", "c.flac")):
        assert np.array_equal(sf.read(f"dump/data/format.1/{utt}.wav")[0], sf.read(source)[0])
    assert sf.info("dump/data/format.1/d.wav").frames == 16000, "resampled from 8 kHz"
    assert "note: 4 made by commands" in capsys.readouterr().out
    validate(["data", *ALLOW])
    with open("dump/wav.scp") as stream:
        assert "|" not in stream.read(), "what comes out holds no commands"


def test_a_wav_header_of_unknown_length(place):
    """What sox and ffmpeg write into a pipe: they do not know the length yet."""
    content = bytearray(open("a b.wav", "rb").read())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    open("stream.wav", "wb").write(content)
    write_scp(a="cat stream.wav |")
    run(*ALLOW)
    assert np.array_equal(sf.read("dump/data/format.1/a.wav")[0], sf.read("a b.wav")[0])


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            "cat 'a b.wav'; echo 'sox FAIL: no such effect' >&2; exit 3 |",
            "its command failed: exit status 3: sox FAIL:",
        ),
        ("no_such_program x.sph |", "its command failed: exit status 127: "),
        ("cat nothing.wav | cat |", "its command failed: exit status 1: cat: nothing.wav"),
        ("true |", "its command wrote nothing: it said nothing"),
        ("echo hello |", "is not audio"),
        ("head -c 3000 'a b.wav' |", "is cut short: 2956 of the 16000 bytes"),
        ("head -c 3000 c.flac |", "cannot be decoded|is cut short"),
        ("head -c 16044 /dev/zero |", "is not audio"),
        ("sleep 60 & cat c.flac |", "its command was stopped after 1 s"),
        ("sleep 60 |", "its command was stopped after 1 s"),
        ("while true; do echo x >&2; done |", "its command was stopped after 1 s"),
        ("read line && echo never |", "its command failed: exit status 1"),
        ("kill -9 $$ |", "its command failed: exit status -9"),
        ("yes '中文' | head -c 100 >&2; exit 1 |", "its command failed: exit status 1: 中文"),
    ],
)
def test_bad_commands_are_bad_recordings(place, capsys, command, reason):
    write_scp(a="c.flac", b=command)
    run(*ALLOW, "--pipe_seconds", "1")
    assert re.search(reason, bad_utts()["b"]), bad_utts()
    assert bad_utts()["b"].startswith(command.split(" |")[0][:20].replace(": ", ":"))
    assert "1 left out (" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(*ALLOW, "--pipe_seconds", "1", role="test")
    assert "1 of 2 test utterances cannot be used" in capsys.readouterr().err


def test_what_a_killed_command_started_is_gone(place):
    write_scp(a="c.flac", b="sh -c 'echo $$ > pid; sleep 61' | cat |")
    run(*ALLOW, "--pipe_seconds", "0.5")
    for _ in range(100):
        gone = subprocess.run(["ps", "-p", open("pid").read().strip()], capture_output=True).returncode
        if gone:
            break
        time.sleep(0.05)
    assert gone


def test_too_much(monkeypatch):
    monkeypatch.setattr(pipe, "MOST", 100000)
    with pytest.raises(BadAudio, match="wrote more than 100000 bytes"):
        run_command("cat /dev/zero |", 30)


def test_run_again_only_where_the_text_changed(place, capsys):
    count = "echo x >> count; "
    write_scp(a=f"{count}cat 'a b.wav' |", b="c.flac")
    times = lambda: len(open("count").readlines())  # noqa: E731
    run(*ALLOW)
    run(*ALLOW)
    assert times() == 1
    first = open("dump/data/format.1/a.wav", "rb").read()
    write_scp(a=f"{count}cat half.wav |", b="c.flac")
    run(*ALLOW)
    assert times() == 2 and open("dump/data/format.1/a.wav", "rb").read() != first
    run(*ALLOW, "--fs", "8000")
    assert times() == 3 and sf.info("dump/data/format.1/a.wav").samplerate == 8000
    with open("dump/data/format.1/a.wav", "r+b") as stream:
        stream.truncate(1000)
    run(*ALLOW, "--fs", "8000")
    assert times() == 4 and sf.info("dump/data/format.1/a.wav").frames == 8000
    run(*ALLOW, "--fs", "8000", "--max_wav_duration", "0.9")
    assert times() == 4 and "is too long: 1.0 s" in bad_utts()["a"], "the limits hold for what is there already, too"
    write_scp(a="a b.wav", b="c.flac")
    run()
    assert open("dump/data/format.1/a.wav", "rb").read() == first, "a file instead of a command"


def test_a_killed_job_leaves_no_command_behind_and_goes_on(place):
    script = f"{shlex.quote(sys.executable)} -c 'import time; time.sleep(0.2)'; cat c.flac"
    write_scp(**{f"u{i}": f"{script}; echo {i} >> ran |" for i in range(6)})
    program = [sys.executable, "-m", "espnet2_secap.bin.sec_format_audio", *args(*ALLOW)]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    while not os.path.exists("dump/data/format.1/u1.wav"):
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = len([name for name in os.listdir("dump/data/format.1") if name.endswith(".wav")])
    assert 2 <= done < 6
    run(*ALLOW)
    lines = open("ran").read().split()
    assert sorted(set(lines)) == list("012345") and len(lines) <= 7, "at most the one that was cut off ran twice"
    for i in range(6):
        assert np.array_equal(sf.read(f"dump/data/format.1/u{i}.wav")[0], sf.read("c.flac")[0])


def test_the_stamp_of_a_text_stays_what_it_is():
    """It is kept in made files: with another one every recording would be made again."""
    text = b"cat a.wav |"
    wanted = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") % (2**31 * 10**9)
    assert stamp("cat a.wav |") == stamp("  cat a.wav | \n") == wanted != stamp("cat b.wav |")
    assert 0 <= wanted < 2**31 * 10**9, "a time of change that every file system can hold"

"""data/<set> -> dump/raw/<set>: what is kept, what is left out, and what a second run does."""

import os

import numpy as np
import pytest
import soundfile as sf
from sounds import content, patched, tone

from espnet2_secap.data.format import FormatOptions, combine, format_job
from espnet2_secap.data.io import read_captions, read_kaldi, write_captions, write_kaldi
from espnet2_secap.errors import SecError


def make_data(folder, ids, rate=16000, seconds=0.3):
    """A data directory with noise for recordings."""
    folder.mkdir(parents=True)
    wavs = folder.parent / "wavs"
    wavs.mkdir(exist_ok=True)
    for number, utt_id in enumerate(ids):
        noise = np.random.default_rng(number).standard_normal(int(rate * seconds)) * 0.1
        sf.write(wavs / f"{utt_id}.wav", noise, rate)
    write_kaldi(folder / "wav.scp", {utt_id: str(wavs / f"{utt_id}.wav") for utt_id in ids})
    write_captions(folder / "captions", {utt_id: [f"caption of {utt_id}"] for utt_id in ids})
    write_kaldi(folder / "text", dict.fromkeys(ids, "words"))
    write_kaldi(folder / "utt2spk", {utt_id: f"s{number % 2}" for number, utt_id in enumerate(ids)})
    write_kaldi(folder / "spk2utt", {"s0": " ".join(ids[::2]), **({"s1": " ".join(ids[1::2])} if ids[1:] else {})})
    write_kaldi(folder / "utt2emo", dict.fromkeys(ids, "sad"))
    return wavs


def run(options):
    for job in range(1, options.nj + 1):
        format_job(options, job)
    return combine(options)


@pytest.fixture
def options(tmp_path):
    return FormatOptions(str(tmp_path / "data"), str(tmp_path / "dump"), "train")


@pytest.mark.parametrize(("nj", "audio_format"), [(1, "wav"), (3, "wav"), (7, "wav"), (2, "flac")])
def test_all_files_of_a_good_set(tmp_path, options, nj, audio_format):
    ids = list("abcde")
    wavs = make_data(tmp_path / "data", ids)
    options.nj, options.audio_format = nj, audio_format
    assert run(options) == f"{options.output_dir}: 5 utterances, 0.00 h at 16000 Hz"
    dump = tmp_path / "dump"
    scp = read_kaldi(dump / "wav.scp")
    assert list(scp) == ids
    for utt_id, path in scp.items():
        assert path.startswith(f"{dump}/data/format.")
        assert path.endswith(f"/{utt_id}.{audio_format}")
        assert np.array_equal(sf.read(path, dtype="int16")[0], sf.read(wavs / f"{utt_id}.wav", dtype="int16")[0])
    assert read_kaldi(dump / "utt2num_samples") == dict.fromkeys(ids, "4800")
    for name in ("captions", "text", "utt2spk", "spk2utt", "utt2emo"):
        assert (dump / name).read_bytes() == (tmp_path / "data" / name).read_bytes()
    assert (dump / "bad_utts.tsv").read_bytes() == b""


def test_bad_ones_are_left_out_of_every_file_counted_and_listed(tmp_path, options):
    wavs = make_data(tmp_path / "data", list("abcdef"))
    (wavs / "b.wav").unlink()
    sf.write(wavs / "c.wav", np.zeros(16000), 16000)
    sf.write(wavs / "d.wav", np.zeros(16000), 16000)
    sf.write(wavs / "e.wav", np.ones((16000, 2)) * 0.1, 8000)
    options.nj = 2
    told = run(options)
    dump = tmp_path / "dump"
    for name in ("wav.scp", "text", "utt2spk", "utt2emo", "utt2num_samples"):
        assert list(read_kaldi(dump / name)) == ["a", "e", "f"]
    assert list(read_captions(dump / "captions")) == ["a", "e", "f"]
    assert read_kaldi(dump / "spk2utt") == {"s0": "a e", "s1": "f"}
    bad = dict(line.split("\t") for line in (dump / "bad_utts.tsv").read_text().splitlines())
    assert list(bad) == ["b", "c", "d"]
    assert bad["b"] == f"{wavs}/b.wav: does not exist; copy it or fix the path in wav.scp"
    assert "3 left out (is silent: 2, does not exist: 1)" in told
    assert "note: 1 2 channels averaged to mono" in told
    assert "note: 1 upsampled from 8000 Hz" in told
    assert read_kaldi(dump / "utt2num_samples")["e"] == "32000"


@pytest.mark.parametrize("role", ["train", "valid"])
def test_limits_hold_for_train_and_valid(tmp_path, options, role):
    make_data(tmp_path / "data", ["a"], seconds=0.05)
    options.role = role
    with pytest.raises(SecError, match=r"no utterance can be used \(a: .*min_wav_duration is 0.1 s\)"):
        run(options)


def test_limits_do_not_hold_for_test(tmp_path, options):
    make_data(tmp_path / "data", ["a"], seconds=0.05)
    options.role = "test"
    options.max_wav_duration = 0.06
    run(options)
    assert read_kaldi(tmp_path / "dump" / "utt2num_samples") == {"a": "800"}


def test_a_bad_test_utterance_is_an_error_and_leaves_the_earlier_output(tmp_path, options):
    wavs = make_data(tmp_path / "data", list("abc"))
    options.role = "test"
    run(options)
    before = {path.name: path.read_bytes() for path in (tmp_path / "dump").iterdir() if path.is_file()}
    (wavs / "b.wav").write_bytes(b"")
    with pytest.raises(SecError, match=r"1 of 3 test utterances cannot be used \(b: .*empty file.*skip_bad_test"):
        run(options)
    assert (tmp_path / "dump" / "bad_utts.tsv").read_text().startswith("b\t")
    for name in before.keys() - {"bad_utts.tsv"}:
        assert (tmp_path / "dump" / name).read_bytes() == before[name]
    for path in read_kaldi(tmp_path / "dump" / "wav.scp").values():
        assert os.path.isfile(path)
    options.skip_bad_test = True
    assert "warning: 1 left out (is an empty file: 1)" in run(options)
    assert list(read_kaldi(tmp_path / "dump" / "wav.scp")) == ["a", "c"]


def test_a_second_run_takes_over_what_is_there_and_reads_again_what_changed(tmp_path, options):
    wavs = make_data(tmp_path / "data", list("abc"))
    run(options)
    paths = read_kaldi(tmp_path / "dump" / "wav.scp")
    before = {utt_id: os.stat(path).st_ino for utt_id, path in paths.items()}
    changed = np.random.default_rng(9).integers(-99, 99, 4800).astype(np.int16)
    sf.write(wavs / "b.wav", changed, 16000)
    with open(paths["c"], "r+b") as stream:
        stream.truncate(1000)
    run(options)
    after = {utt_id: os.stat(path).st_ino for utt_id, path in paths.items()}
    assert [utt_id for utt_id in paths if before[utt_id] != after[utt_id]] == ["b", "c"]
    assert np.array_equal(sf.read(paths["b"], dtype="int16")[0], changed)
    assert len(sf.read(paths["c"])[0]) == 4800


def test_another_rate_or_number_of_jobs_leaves_nothing_old(tmp_path, options):
    make_data(tmp_path / "data", list("abc"), rate=16000)
    options.nj = 3
    run(options)
    options.nj, options.fs = 2, 8000
    run(options)
    audio = sorted(str(path) for path in (tmp_path / "dump" / "data").glob("*/*"))
    assert audio == sorted(read_kaldi(tmp_path / "dump" / "wav.scp").values())
    assert all(sf.info(path).samplerate == 8000 for path in audio)


def test_another_number_of_jobs_changes_nothing(tmp_path, options, monkeypatch):
    """Features are made from these files, models from those: neither may be out of date because of --nj."""
    monkeypatch.setattr("espnet2_secap.data.format.FOLDER_UTTS", 2)
    make_data(tmp_path / "data", list("abcde"))
    dump, found = tmp_path / "dump", []
    for options.nj in (2, 1, 4):
        run(options)
        paths = read_kaldi(dump / "wav.scp")
        stats = [os.stat(path) for path in paths.values()]
        found.append([(dump / "wav.scp").read_bytes(), *((one.st_ino, one.st_mtime_ns) for one in stats)])
    assert found[0] == found[1] == found[2]
    assert [os.path.relpath(path, dump / "data") for path in paths.values()] == [
        *("format.1/a.wav", "format.1/b.wav", "format.2/c.wav", "format.2/d.wav", "format.3/e.wav")
    ]


def test_a_job_leaves_what_another_is_writing(tmp_path, options):
    make_data(tmp_path / "data", list("ab"))
    options.nj = 2
    folder = tmp_path / "dump/data/format.1"
    folder.mkdir(parents=True)
    for name in "ab":
        (folder / f"{name}.wav.tmp.123").write_bytes(b"RIFF")
    format_job(options, 1)
    assert {path.name for path in folder.iterdir()} == {"a.wav", "b.wav.tmp.123"}
    format_job(options, 2)
    combine(options)
    assert {path.name for path in folder.iterdir()} == {"a.wav", "b.wav"}


def test_tables_that_the_data_directory_lost_are_lost_here_too(tmp_path, options):
    make_data(tmp_path / "data", list("ab"))
    run(options)
    (tmp_path / "data" / "utt2emo").unlink()
    run(options)
    assert not (tmp_path / "dump" / "utt2emo").exists()


def shorten(journal):
    """As a job leaves it that is killed while it writes."""
    journal.write_bytes(journal.read_bytes()[:-3])


def other_recording(data):
    write_kaldi(data / "wav.scp", read_kaldi(data / "wav.scp") | {"a": "b.wav"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda dump: (dump / ".jobs" / "format.2of2.jsonl").unlink(),
            r"job\(s\) 2 of 2: not finished; run them again",
        ),
        (lambda dump: (dump / ".jobs" / "format.1of2.jsonl").write_text("{}\n"), r"job\(s\) 1 of 2: not finished"),
        (lambda dump: shorten(dump / ".jobs" / "format.1of2.jsonl"), r"job\(s\) 1 of 2: not finished"),
        (lambda dump: (dump / "data" / "format.1" / "a.wav").unlink(), r"job\(s\) 1 of 2: .*a.wav was removed; run"),
        (lambda dump: (dump.parent / "data" / "text").unlink(), None),
        (lambda dump: other_recording(dump.parent / "data"), r"job\(s\) 1, 2 of 2: made from other data"),
    ],
)
def test_joining_wants_every_job(tmp_path, options, spoil, said):
    make_data(tmp_path / "data", list("abcd"))
    options.nj = 2
    format_job(options, 1)
    format_job(options, 2)
    spoil(tmp_path / "dump")
    if said is None:  # no part of the audio
        combine(options)
        return
    with pytest.raises(SecError, match=said):
        combine(options)
    assert not (tmp_path / "dump" / "wav.scp").exists()


def test_joining_with_another_number_of_jobs_is_refused(tmp_path, options):
    make_data(tmp_path / "data", list("abcd"))
    options.nj = 4
    for job in range(1, 5):
        format_job(options, job)
    options.nj = 3
    with pytest.raises(SecError, match=r"job\(s\) 1, 2, 3 of 3: not finished"):
        combine(options)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fs": 16},
        {"nj": 0},
        {"min_wav_duration": 5, "max_wav_duration": 1},
        {"min_wav_duration": -1},
        {"max_wav_duration": 1e6},
    ],
)
def test_options_without_sense(wrong):
    with pytest.raises(SecError, match=f"--{list(wrong)[0]}"):
        FormatOptions("data", "dump", "train", **wrong).check()


def test_what_headers_get_wrong_and_what_is_clipped_is_counted_also_when_it_is_kept(tmp_path, options):
    """Kinds: a container's header is believed; levels."""
    wavs = make_data(tmp_path / "data", list("abcdefg"))
    (wavs / "g.wav").write_bytes(content(8 * tone(0.3), subtype="FLOAT"))
    (wavs / "a.wav").write_bytes(patched((wavs / "a.wav").read_bytes(), 40, 0))
    (wavs / "b.wav").write_bytes(patched((wavs / "b.wav").read_bytes(), 40, 2000))
    (wavs / "c.wav").write_bytes(2 * (wavs / "c.wav").read_bytes())
    (wavs / "d.wav").write_bytes(content(2.5 * tone(0.3), subtype="FLOAT"))
    (wavs / "e.wav").write_bytes(content(4.0 * tone(0.3), subtype="FLOAT"))
    (wavs / "f.wav").write_bytes(content(32768 * tone(0.3), subtype="FLOAT"))
    for nj in (1, 1, 2):
        options.nj = nj
        told = run(options)
        assert "2 left out (has float samples, expected -1 to 1: 2)" in told
        assert "note: 1 without a length in the header" in told
        assert "note: 1 with less in the header than there is" in told
        assert "note: 1 of several recordings in one file" in told
        assert "note: 2 clipped at full scale, up to 66.5% of the samples" in told
    lengths = read_kaldi(tmp_path / "dump" / "utt2num_samples")
    assert lengths == {"a": "4800", "b": "4800", "c": "9600", "d": "4800", "e": "4800"}


def test_limits_hold_for_what_is_there_not_for_what_the_header_says(tmp_path, options):
    wavs = make_data(tmp_path / "data", list("ab"), seconds=3.0)
    (wavs / "a.wav").write_bytes(patched((wavs / "a.wav").read_bytes(), 40, 4000))
    options.max_wav_duration = 2.0
    with pytest.raises(SecError, match=r"a.wav: is too long: 3.0 s, --max_wav_duration is 2 s"):
        run(options)

"""sec_caption with a tiny model of random weights: any recording, any order, resumed, and bad input."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import soundfile as sf
from tiny_experiment import MAX_SECONDS, make_experiment

from espnet2_secap.bin import sec_caption
from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.caption_files import one_line
from espnet2_secap.inference.caption_output import printable
from espnet2_secap.inference.speech2caption import Speech2Caption

FS = 16000


@pytest.fixture(scope="module")
def model(tiny_llama, tmp_path_factory):
    return str(make_experiment(tmp_path_factory.mktemp("exp") / "sec_caption_tiny", tiny_llama))


def speech(seconds, seed=0, fs=FS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * fs)) / fs
    tones = sum(rng.uniform(0.02, 0.2) * np.sin(2 * np.pi * hz * t) for hz in rng.uniform(100, 3000, 4))
    return ((0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)) * tones).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six short recordings of several formats, and a long one of 11.5 s with pauses from 3 to 3.5 s and 7 to 8 s."""
    folder = tmp_path_factory.mktemp("recordings")
    for at, name in enumerate(["f.wav", "b.flac", "c.ogg", "sub/a.wav", "e.wav", "d.wav"]):
        (folder / name).parent.mkdir(exist_ok=True)
        rate = 44100 if at % 2 else FS
        samples = speech(1.0 + 0.37 * at, at, rate)
        sf.write(folder / name, np.stack([samples, samples], axis=1) if at == 2 else samples, rate)
    long = speech(11.5, 9)
    long[3 * FS : round(3.5 * FS)] *= 1e-3
    long[7 * FS : 8 * FS] *= 1e-3
    sf.write(folder / "long.wav", long, FS)
    return folder


def caption(*args) -> int:
    """Run the program here; its exit status."""
    try:
        sec_caption.main([*map(str, args), "--max_length", "8"])
    except SystemExit as err:
        return err.code
    return 0


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_is_captioned_in_every_format(model, folder, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    for name in ("a.jsonl", "a.csv", "a.tsv", "captions"):
        if name != "a.jsonl":  # what is done is taken over
            shutil.copy(tmp_path / "new" / "a.jsonl.journal", tmp_path / "new" / f"{name}.journal")
        assert caption(folder, "--model", model, "--output", tmp_path / "new" / name, "--candidates", 2) == 0
    rows = lines(tmp_path / "new" / "a.jsonl")
    ids = [row["id"] for row in rows]
    assert ids[:5] == ["b", "c", "d", "e", "f"] and ids[-1] == "sub-a" and len(ids) == 9
    pieces = [row for row in rows if row["file"].endswith("long.wav")]
    assert len(pieces) == 3
    for row in pieces:
        assert row["end"] - row["start"] <= MAX_SECONDS
        assert row["id"] == f"long-{round(100 * row['start']):07d}-{round(100 * row['end']):07d}"
    assert abs(pieces[0]["end"] - 3.2) < 0.1 and abs(pieces[1]["start"] - 3.3) < 0.1
    assert len({row["caption"] for row in rows}) > 1 and all(len(row["candidates"]) == 2 for row in rows)
    texts = {row["id"]: [one["text"] for one in row["candidates"]] for row in rows}
    assert read_captions(tmp_path / "new" / "captions") == texts
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        with (tmp_path / "new" / f"a.{kind}").open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file, delimiter=delimiter))
        assert [(row["id"], row["caption"]) for row in table] == [(i, text) for i in ids for text in texts[i]]
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:18] == [f"{i} {printable(text)}" for i in ids for text in texts[i]]
    assert "captioning recordings: 7/7" in printed.err


def test_the_same_captions_as_in_python_and_for_any_batch_size(model, folder, tmp_path):
    for size in (1, 4):
        assert caption(folder, "--model", model, "--output", tmp_path / f"{size}.jsonl", "--batch_size", size) == 0
    one, four = (lines(tmp_path / f"{size}.jsonl") for size in (1, 4))
    assert [(row["id"], row["caption"]) for row in one] == [(row["id"], row["caption"]) for row in four]
    np.testing.assert_allclose(
        [row["candidates"][0]["score"] for row in one], [row["candidates"][0]["score"] for row in four], atol=1e-4
    )
    speech2caption = Speech2Caption.from_pretrained(model, max_length=8)
    for row in one:
        if not row["id"].startswith("long"):
            assert one_line(speech2caption(row["file"])[0][0]) == row["caption"]
    samples, rate = sf.read(folder / "f.wav", dtype="int16")
    assert one_line(speech2caption(samples, rate)[0][0]) == next(row["caption"] for row in one if row["id"] == "f")


def command(model, *args) -> list[str]:
    program = [sys.executable, "-m", "espnet2_secap.bin.sec_caption", "--model", model, "--max_length", "8"]
    return [*program, *map(str, args)]


@pytest.mark.slow(8)
def test_a_killed_run_is_resumed_with_the_same_result(model, folder, tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    options = ["--batch_size", 2, "--sampling", "true", "--temperature", "2.0", "--seed", 3]
    assert caption(folder, "--model", model, "--output", whole, *options) == 0
    process = subprocess.Popen(command(model, folder, "--output", cut, *options), stderr=subprocess.DEVNULL)
    journal, until = tmp_path / "cut.jsonl.journal", time.monotonic() + 300
    while not (journal.exists() and b'"captions"' in journal.read_bytes()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:10]))  # one or two batches are left
    kept = journal.read_bytes()
    assert 0 < kept.count(b'"captions"') < 5 and not cut.exists()
    assert caption(folder, "--model", model, "--output", cut, *options) == 0
    assert journal.read_bytes().startswith(kept) and cut.read_bytes() == whole.read_bytes()


def test_a_repeated_command_captions_only_what_is_missing(model, folder, tmp_path, monkeypatch, capsys):
    here, out = tmp_path / "in", tmp_path / "out.jsonl"
    shutil.copytree(folder, here)
    (here / "broken.wav").write_bytes(b"no audio")
    run = ("--model", model, "--output", out)
    assert caption(here, *run) == 1
    assert "broken.wav: is not audio" in capsys.readouterr().err
    before = {row["id"]: row for row in lines(out)}
    sf.write(here / "broken.wav", speech(1.0, 20), FS)
    sf.write(here / "b.flac", speech(2.0, 21), FS)
    asked = []
    original = Speech2Caption.caption
    monkeypatch.setattr(Speech2Caption, "caption", lambda self, waves: asked.extend(waves) or original(self, waves))
    capsys.readouterr()
    assert caption(here, *run) == 0
    assert sorted(map(len, asked)) == [FS, 2 * FS]
    after = {row["id"]: row for row in lines(out)}
    assert set(after) - set(before) == {"broken"} and after["b"]["end"] == 2.0
    assert all(after[name] == row for name, row in before.items() if name != "b")
    assert caption(here, *run, "--min_length", 5) == 0
    assert "was made with another model or other options" in capsys.readouterr().err
    assert len(asked) == 2 + len(after)


def test_a_finished_run_needs_no_model(model, folder, tmp_path, monkeypatch):
    run = (folder / "f.wav", "--model", model, "--output", tmp_path / "captions")
    assert caption(*run) == 0
    content = (tmp_path / "captions").read_bytes()
    (tmp_path / "captions").unlink()

    def load(*args, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Speech2Caption, "from_pretrained", load)
    assert caption(*run) == 0 and (tmp_path / "captions").read_bytes() == content


def test_what_cannot_be_read_is_named_and_the_rest_is_captioned(model, folder, tmp_path, capsys):
    for name, samples in (("short.wav", speech(0.001)), ("silent.wav", np.zeros(FS)), ("click.wav", np.zeros(9 * FS))):
        if name == "click.wav":
            samples[5 * FS : 5 * FS + 30] = 0.5
        sf.write(tmp_path / name, samples, FS)
    nan = speech(1.0)
    nan[7] = np.nan
    sf.write(tmp_path / "nan.wav", nan, FS, subtype="FLOAT")
    sf.write(tmp_path / "scale.wav", 32768 * speech(1.0), FS, subtype="FLOAT")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "cut.wav").write_bytes((folder / "f.wav").read_bytes()[:9999])
    (tmp_path / "text.wav").write_text("hello " * 99)
    scp = "".join(f"{path.stem} {path}\n" for path in sorted(tmp_path.glob("*.wav")))
    (tmp_path / "my.scp").write_text(f"{scp}gone {tmp_path}/gone.wav\n")
    assert caption(tmp_path / "my.scp", folder / "f.wav", "--model", model) == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["f"]
    reasons = {
        "short": "is too short: 0.00", "silent": "is silent", "click": "has no speech", "nan": "has NaN or infinite",
        "scale": "has float samples up to", "empty": "is an empty file", "cut": "is cut short", "text": "is not audio",
        "gone": "does not exist",
    }  # fmt: skip
    for name, reason in reasons.items():
        found = [line for line in printed.err.splitlines() if f"/{name}.wav: " in line]
        assert len(found) == 1 and f"{name}.wav: {reason}" in found[0], (name, printed.err)
    assert "error: 9 of 10 recordings could not be captioned" in printed.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["empty"], "empty: the folder has no recordings"),
        (["two"], "two/a.flac and two/a.wav would both have the id a"),
        (["pipe.scp"], "pipe.scp:1: a: is a command (pipe)"),
        (["a.wav", "--output", "out.xlsx"], "--output out.xlsx: unknown ending .xlsx"),
        (["a.wav", "--output", "there.csv"], "there.csv: is there already and was not written by this program"),
        (["a.wav", "--output", "a.wav/out"], "choose another path"),
        (["a.wav", "--output", "empty", "--model", "MODEL"], "is a folder"),
        (["a.wav", "--candidates", "0"], "--candidates 0: must be between 1 and 10000"),
        (["a.wav", "--max_seconds", "0"], "--max_seconds 0: must be above 0.5"),
        (["a.wav", "--model", "nowhere"], "nowhere: no such experiment"),
        (["a.wav", "--model", "empty"], "empty: has no model file"),
        (["gone.wav"], "1 of 1 recordings could not be captioned"),
    ],
)
def test_bad_input_is_one_line_before_the_model_is_loaded(model, tmp_path, args, said):
    for name in ("empty", "two"):
        (tmp_path / name).mkdir()
    for name in ("a.wav", "two/a.wav", "two/a.flac"):
        sf.write(tmp_path / name, speech(1.0), FS)
    (tmp_path / "pipe.scp").write_text("a touch ran |\n")
    (tmp_path / "there.csv").write_text("mine")
    code = "import sys; from espnet2_secap.bin import sec_caption\ntry: sec_caption.main(sys.argv[1:])\n"
    code += "finally: assert 'torch' not in sys.modules"
    args = [model if arg == "MODEL" else arg for arg in args]
    args += [] if "--model" in args else ["--model", model]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1 and said in errors[0]
    assert not (tmp_path / "ran").exists() and (tmp_path / "there.csv").read_text() == "mine"


@pytest.mark.needs("root")
def test_no_permission_to_write_is_found_first(model, folder, capsys):
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        shutil.copytree(model, f"{place}/model")
        shutil.copy(folder / "f.wav", place)
        os.mkdir(f"{place}/closed")
        os.chmod(place, 0o755)
        os.seteuid(65534)
        try:
            status = caption(f"{place}/f.wav", "--model", f"{place}/model", "--output", f"{place}/closed/out.csv")
        finally:
            os.seteuid(0)
    assert status == 1 and "closed/out.csv: Permission denied" in capsys.readouterr().err


def test_a_reader_that_closes_the_pipe_does_no_harm(model, folder, tmp_path):
    assert caption(folder / "f.wav", "--model", model, "--output", tmp_path / "a.csv") == 0
    content = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").unlink()
    given = command(model, folder / "f.wav", "--output", tmp_path / "a.csv")
    process = subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert "Error" not in process.stderr.read() and process.wait() == 0
    assert (tmp_path / "a.csv").read_bytes() == content


def test_an_interrupt_says_how_to_resume(model, folder, tmp_path, monkeypatch, capsys):
    def stop(self, waves):
        raise KeyboardInterrupt

    monkeypatch.setattr(Speech2Caption, "caption", stop)
    assert caption(folder, "--model", model, "--output", tmp_path / "out.csv") == 130
    assert "interrupted; repeat the same command to resume" in capsys.readouterr().err


def decoding(folder, **options) -> str:
    """A file for --config."""
    (folder / "decode.yaml").write_text(json.dumps(options, ensure_ascii=False))
    return str(folder / "decode.yaml")


def test_a_decoding_configuration_says_how_recordings_are_captioned(model, folder, tmp_path, capsys):
    """--config conf/decode.yaml: captions are chosen as in a recipe; what is given beside it goes first."""
    train = tmp_path / "captions"
    train.write_text('a ["情绪悲伤"]\nb ["语速较快，声音高亢"]\nc ["声音低沉"]\n')
    config = decoding(tmp_path, candidates=str(train), keep=1, batch_size=2)
    output = tmp_path / "out.jsonl"
    command = [folder / "b.flac", folder / "sub", "--model", model, "--config", config, "--output", output]
    assert caption(*command) == 0
    texts = {"情绪悲伤", "语速较快，声音高亢", "声音低沉"}
    assert [len(row["candidates"]) for row in lines(output)] == [1, 1]
    assert {row["caption"] for row in lines(output)} <= texts
    first = {row["id"]: row["caption"] for row in lines(output)}
    assert caption(*command, "--candidates", 3) == 0
    for row in lines(output):
        assert row["caption"] == first[row["id"]] and {one["text"] for one in row["candidates"]} == texts
    train.write_text('a ["情绪高兴"]\n')  # other candidates: nothing is taken over from the journal
    capsys.readouterr()
    assert caption(*command) == 0
    assert {row["caption"] for row in lines(output)} == {"情绪高兴"}
    assert "captioning all recordings again" in capsys.readouterr().err


def test_a_decoding_configuration_of_one_search(model, folder, tmp_path):
    config = decoding(tmp_path, beam_size=2, num_candidates=2, min_length=1, max_length=4)
    for output, further in (("a.jsonl", ()), ("b.jsonl", ("--candidates", 1))):
        command = [folder / "b.flac", "--model", model, "--output", tmp_path / output]
        assert caption(*command, "--config", config, *further) == 0
        assert caption(*command[:3], "--output", tmp_path / f"plain_{output}", "--beam_size", 2, "--min_length", 1,
                       "--candidates", 1 if further else 2) == 0  # fmt: skip
        assert lines(tmp_path / output)[0]["candidates"] == lines(tmp_path / f"plain_{output}")[0]["candidates"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beam": 2}, "unknown key beam"),
        ({"keep": "many"}, "keep"),
        ({"candidates": "no_such", "keep": 1}, "no_such: no such file"),
        ({"candidates": "training", "keep": 1}, "names no captions of the training"),
        ({"candidates": "x"}, "--keep 0: --candidates"),
    ],
)
def test_a_decoding_configuration_that_cannot_be_used_is_one_line(model, folder, tmp_path, capsys, options, said):
    assert caption(folder / "b.flac", "--model", model, "--config", decoding(tmp_path, **options)) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1] and error[-1].startswith("sec_caption: error:") and len(error) == 1


@pytest.mark.parametrize("condition", [["text_queries", "queries"], ["transcript"]], ids="-".join)
def test_a_model_that_reads_the_transcription(condition, tiny_llama, folder, tmp_path, capsys):
    model = make_experiment(tmp_path / "exp", tiny_llama, {"condition": condition})
    files, said = [folder / "f.wav", folder / "e.wav"], tmp_path / "asr"
    assert caption("--model", model, *files) == 1
    assert (
        f"the model reads the transcription (condition {', '.join(condition)}); give --text_file"
        in capsys.readouterr().err
    )
    said.write_text("f 今天下午三点\n")
    assert caption("--model", model, *files, "--text_file", said) == 1
    out, err = capsys.readouterr()
    assert "e.wav: --text_file has no line for e; add it" in err and out.startswith("f ")
    said.write_text("f 今天下午三点\ne\n")
    assert caption("--model", model, *files, "--text_file", said, "--output", tmp_path / "a.jsonl") == 0
    one = {row["id"]: row["caption"] for row in lines(tmp_path / "a.jsonl")}
    said.write_text("f 声音低沉，语速缓慢\ne\n")  # captions of other words are made anew
    assert caption("--model", model, *files, "--text_file", said, "--output", tmp_path / "a.jsonl") == 0
    other = {row["id"]: row["caption"] for row in lines(tmp_path / "a.jsonl")}
    assert one["f"] != other["f"] and one["e"] == other["e"]
    speech2caption = Speech2Caption.from_pretrained(model, max_length=8)
    ((text, _),) = speech2caption(folder / "f.wav", text="声音低沉，语速缓慢")
    assert one_line(text) == other["f"]
    capsys.readouterr()
    long = caption("--model", model, folder / "long.wav", "--text_file", _line(tmp_path, "long 今天"))
    if "queries" in condition:
        assert (
            long == 1 and "is cut into 3 pieces, and its transcription is that of the whole" in capsys.readouterr().err
        )
    else:
        assert long == 0, "nothing is heard, so nothing is too long"


def _line(folder, line):
    (folder / "line").write_text(f"{line}\n", encoding="utf-8")
    return folder / "line"


def test_transcriptions_that_nobody_reads_or_gives(model, folder, tiny_llama, tmp_path, capsys):
    assert caption("--model", model, folder / "f.wav", "--text_file", _line(tmp_path, "f x")) == 1
    assert "the model reads no transcription (condition queries); leave it out" in capsys.readouterr().err
    with pytest.raises(SecError, match="text: is given, and the model reads no transcription .condition queries."):
        Speech2Caption.from_pretrained(model)(folder / "f.wav", text="x")
    reads = Speech2Caption.from_pretrained(make_experiment(tmp_path / "e", tiny_llama, {"condition": ["transcript"]}))
    with pytest.raises(
        SecError, match="text: the model reads the transcription .condition transcript., and none is given"
    ):
        reads(folder / "f.wav")
    with pytest.raises(SecError, match="must be 2 transcription"):
        reads([folder / "f.wav", folder / "e.wav"], text=["x"])


@pytest.mark.slow(10)
def test_a_model_that_reads_clues(model, tiny_llama, folder, tmp_path, capsys):
    clued = make_experiment(tmp_path / "exp", tiny_llama, {"condition": ["queries", "clues"]})
    files = [folder / "f.wav", folder / "e.wav"]
    found = {}
    for clues in ("none", "愤怒，语速快", " 愤怒 ; 语速快", "悲伤"):
        assert caption("--model", clued, *files, "--clues", clues) == 0
        found[clues] = capsys.readouterr().out
    assert found["愤怒，语速快"] == found[" 愤怒 ; 语速快"] and len(set(found.values())) == 3
    for name, value, message in [
        (clued, "oracle", "--clues oracle: recordings have no references; give none, predicted, retrieved, or words"),
        (clued, "predicted", "the model has no head that predicts them"),
        (clued, str(folder / "f.wav"), "is a file; of recordings give their clues"),
        (model, "愤怒", "--clues 愤怒: the model reads no clues (condition queries); leave it out"),
    ]:
        assert caption("--model", name, *files, "--clues", value) == 1
        assert message in capsys.readouterr().err

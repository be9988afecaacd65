"""Stage 1 of egs2/emospeech: from the corpus as published, or as large as in the paper, to data/."""

import json
import os
import runpy
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.bin.sec_format_audio import main as format_audio
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.data.validate import validate_data_dir

SAID = ["她很高兴", "声音低沉，十分悲伤", "语速快，非常愤怒", "语气平静"]
EMOTIONS = ["happy", "sad", "angry", "calm"]
SPEAKERS = ["tx_emotion_002", "tx_xiao_01001", "tx_emulate_00"]
SETS = ("train", "valid", "test")


def make_corpus(folder, num, captions=lambda number: SAID[number % 4], audio=b"RIFF"):
    """A corpus in the public layout; the recordings are not opened in stage 1."""
    (folder / "dataset" / "wav").mkdir(parents=True)
    ids = []
    for number in range(num):
        prefix = SPEAKERS[number % 3]
        ids.append(f"{prefix}_101_0001_{number:06d}" if "emulate" in prefix else f"{prefix}03{number:06d}")
    for utt_id in ids:
        (folder / "dataset" / "wav" / f"{utt_id}.wav").write_bytes(audio)
    table = {utt_id: captions(number) for number, utt_id in enumerate(ids)}
    (folder / "dataset" / "fid2captions.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    lines = [f"{utt_id}{chr(9) if 'emulate' in utt_id else ' '}今天是第{n}天。 \n" for n, utt_id in enumerate(ids)]
    (folder / "dataset" / "text.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "dataset" / "wav.scp").write_text("".join(f"{i} dataset/wav/{i}.wav\n" for i in ids))
    return ids


@pytest.fixture
def recipe(repo, tmp_path):
    """A recipe folder elsewhere, with the real local/ and db.sh."""
    folder = tmp_path / "egs2" / "corpus" / "sec1"
    folder.mkdir(parents=True)
    for name, target in {
        "local": "egs2/emospeech/sec1/local",
        "db.sh": "egs2/emospeech/sec1/db.sh",
        "path.sh": "egs2/TEMPLATE/sec1/path.sh",
        "utils": "utils",
    }.items():
        (folder / name).symlink_to(repo / target)
    return folder


def data_sh(recipe, *options, corpus=None):
    environment = {key: value for key, value in os.environ.items() if key != "EMOSPEECH"}
    if corpus is not None:
        environment["EMOSPEECH"] = str(corpus)
    mini = () if "--mini_parts" in options else ("--mini_parts", "false")
    command = ["local/data.sh", *mini, *options]
    return subprocess.run(command, cwd=recipe, env=environment, capture_output=True, text=True)


def succeeds(recipe, *options, corpus):
    done = data_sh(recipe, *options, corpus=corpus)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(recipe, *options, corpus=None):
    """The one line of error."""
    done = data_sh(recipe, *options, corpus=corpus)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def ids_of(recipe):
    return {name: list(read_kaldi(recipe / "data" / name / "wav.scp")) for name in SETS}


def test_the_public_layout(recipe, tmp_path):
    ids = make_corpus(tmp_path / "corpus", 60)
    told = succeeds(recipe, corpus=tmp_path / "corpus")
    assert "emotions in train: " in told
    sets = ids_of(recipe)
    assert {name: len(sets[name]) for name in SETS} == {"train": 48, "valid": 6, "test": 6}
    assert sorted(sum(sets.values(), [])) == sorted(ids)
    required = ["captions", "text", "utt2spk", "spk2utt"]
    for name in SETS:
        assert validate_data_dir(recipe / "data" / name, required) == []
        assert sorted(read_kaldi(recipe / "data" / name / "spk2utt")) == sorted(SPEAKERS)
    assert not (recipe / "data" / "test" / "utt2emo").exists()  # no labels: the captions are the truth
    for name in ("train", "valid"):
        assert validate_data_dir(recipe / "data" / name, ["utt2emo", "emo2utt"]) == []
        emotions = read_kaldi(recipe / "data" / name / "utt2emo")
        for utt_id, captions in read_captions(recipe / "data" / name / "captions").items():
            assert emotions[utt_id] == EMOTIONS[SAID.index(captions[0])]
    assert read_kaldi(recipe / "data" / "train" / "text")[sets["train"][0]].startswith("今天")


@pytest.mark.slow(5)
def test_the_split_is_the_same_each_time_and_another_with_another_seed(recipe, tmp_path):
    make_corpus(tmp_path / "corpus", 60)
    succeeds(recipe, corpus=tmp_path / "corpus")
    first = ids_of(recipe)
    succeeds(recipe, corpus=tmp_path / "corpus")
    assert ids_of(recipe) == first
    succeeds(recipe, "--seed", "1", corpus=tmp_path / "corpus")
    assert ids_of(recipe)["test"] != first["test"]


def test_what_is_incomplete_is_left_out_counted_and_listed(recipe, tmp_path):
    ids = make_corpus(tmp_path / "corpus", 60, lambda number: " " if number == 7 else "x")
    for utt_id in ids[:5]:
        (tmp_path / "corpus" / "dataset" / "wav" / f"{utt_id}.wav").unlink()
    (tmp_path / "corpus" / "dataset" / "wav" / "stray.wav").write_bytes(b"RIFF")
    told = succeeds(recipe, corpus=tmp_path / "corpus")
    assert f"warning: 5 utterances left out, no recording ({min(ids[:5])}, ...); see data/left_out.tsv" in told
    assert "warning: 2 utterances left out, no caption" in told
    listed = dict(line.split("\t") for line in (recipe / "data" / "left_out.tsv").read_text().splitlines())
    assert listed == {**dict.fromkeys(ids[:5], "no recording"), ids[7]: "no caption", "stray": "no caption"}
    assert not set(sum(ids_of(recipe).values(), [])) & set(listed)


def test_a_caption_without_emotion_is_other(recipe, tmp_path):
    ids = make_corpus(tmp_path / "corpus", 30, lambda number: "她很高兴" if number % 10 else "不知道怎么说")
    (tmp_path / "test").write_text("\n".join(ids[1:4]))
    (tmp_path / "valid").write_text("\n".join(ids[18:21]))
    lists = ("--valid_ids", str(tmp_path / "valid"), "--test_ids", str(tmp_path / "test"))
    succeeds(recipe, *lists, corpus=tmp_path / "corpus")
    emotions = [Counter(read_kaldi(recipe / "data" / name / "utt2emo").values()) for name in ("train", "valid")]
    assert emotions == [{"happy": 22, "other": 2}, {"happy": 2, "other": 1}]


def test_an_emotion_that_only_valid_has_is_left_out_of_it(recipe, tmp_path):
    ids = make_corpus(tmp_path / "corpus", 30, lambda number: "她很高兴" if number else "十分悲伤")
    (tmp_path / "valid").write_text("\n".join(ids[:3]))
    told = succeeds(recipe, "--valid_ids", str(tmp_path / "valid"), corpus=tmp_path / "corpus")
    assert f"warning: 1 utterances left out, in valid, but train has no sad ({ids[0]}, ...)" in told
    assert ids_of(recipe)["valid"] == sorted(ids[1:3])
    (tmp_path / "valid").write_text(ids[0])
    line = fails(recipe, "--valid_ids", str(tmp_path / "valid"), corpus=tmp_path / "corpus")
    assert "train has the emotion of none of its utterances" in line


def test_several_captions_the_emotion_that_most_of_them_name(recipe, tmp_path):
    captions = ["声音低沉，十分悲伤", "她很高兴", "她很高兴"]
    make_corpus(tmp_path / "corpus", 30, lambda number: captions)
    succeeds(recipe, corpus=tmp_path / "corpus")
    for name in ("train", "valid"):
        assert set(read_kaldi(recipe / "data" / name / "utt2emo").values()) == {"happy"}
        assert all(found == captions for found in read_captions(recipe / "data" / name / "captions").values())


def test_lists_for_valid_and_test(recipe, tmp_path):
    ids = make_corpus(tmp_path / "corpus", 40)
    (tmp_path / "valid").write_text("".join(f"{i}\n" for i in ids[:3]))
    (tmp_path / "test").write_text("".join(f"{i} whatever\n" for i in [*ids[3:5], "gone"]))
    told = succeeds(
        recipe,
        "--valid_ids",
        str(tmp_path / "valid"),
        "--test_ids",
        str(tmp_path / "test"),
        corpus=tmp_path / "corpus",
    )
    assert "test: 1 of the 3 ids in its list are not usable" in told
    sets = ids_of(recipe)
    assert sets == {"train": sorted(ids[5:]), "valid": sorted(ids[:3]), "test": sorted(ids[3:5])}


def test_the_full_corpus_brings_lists_and_labels(recipe, tmp_path):
    ids = make_corpus(tmp_path / "corpus", 40, lambda number: ["a", "b", "c", "d", "e"][: 3 + number % 3])
    dataset = tmp_path / "corpus" / "dataset"
    for name, part in {"train": ids[:20], "valid": ids[20:25], "test": ids[25:30]}.items():
        (dataset / f"{name}.txt").write_text("\n".join(part))
    (dataset / "labels.txt").write_text("".join(f"{i} mood {n % 2}\n" for n, i in enumerate(ids[:-1])))
    told = succeeds(recipe, corpus=dataset)
    assert "9 utterances are in none of the lists and not used" in told
    assert f"warning: 1 utterances left out, no label ({ids[-1]}, ...)" in told
    assert set(read_kaldi(recipe / "data" / "test" / "utt2emo").values()) == {"mood_0", "mood_1"}
    assert ids_of(recipe) == {
        "train": sorted(ids[:20]),
        "valid": sorted(ids[20:25]),
        "test": sorted(ids[25:30]),
    }
    assert read_kaldi(recipe / "data" / "train" / "utt2emo")[ids[1]] == "mood_1"
    assert Counter(map(len, read_captions(recipe / "data" / "train" / "captions").values())).keys() == {
        3,
        4,
        5,
    }


def test_a_large_corpus_holds_out_600_each(recipe, tmp_path):
    make_corpus(tmp_path / "corpus", 6500)
    succeeds(recipe, corpus=tmp_path / "corpus")
    assert {name: len(ids) for name, ids in ids_of(recipe).items()} == {
        "train": 5300,
        "valid": 600,
        "test": 600,
    }


def test_without_the_corpus_it_says_how_to_get_it(recipe, tmp_path):
    for corpus in (None, tmp_path / "nothing", tmp_path):
        line = fails(recipe, corpus=corpus)
        assert "thuhcsi/SECap" in line
        assert "set EMOSPEECH in db.sh" in line
    assert not (recipe / "data").exists()


def spoiled(kind, dataset, ids):
    options = ()
    if kind == "captions are not JSON":
        (dataset / "fid2captions.json").write_text('{"a": "b"')
    elif kind == "captions empty":
        (dataset / "fid2captions.json").write_text("")
    elif kind == "captions with BOM":
        (dataset / "fid2captions.json").write_bytes(b'\xef\xbb\xbf{"a": "b"}')
    elif kind == "captions a list":
        (dataset / "fid2captions.json").write_text("[]")
    elif kind == "a caption that is a number":
        (dataset / "fid2captions.json").write_text('{"a": 3}')
    elif kind == "an id twice":
        (dataset / "fid2captions.json").write_text('{"a": "x", "a": "y"}')
    elif kind == "text with CRLF":
        (dataset / "text.txt").write_bytes((dataset / "text.txt").read_bytes().replace(b"\n", b"\r\n"))
    elif kind == "no recordings":
        for path in (dataset / "wav").iterdir():
            path.unlink()
    elif kind == "overlap":
        for name in ("a", "b"):
            (dataset / name).write_text(ids[0])
        options = ("--valid_ids", str(dataset / "a"), "--test_ids", str(dataset / "b"))
    elif kind == "no such list":
        options = ("--test_ids", str(dataset / "nothing"))
    elif kind == "list of strangers":
        (dataset / "a").write_text("stranger\n")
        options = ("--test_ids", str(dataset / "a"))
    elif kind == "no such labels":
        options = ("--labels", str(dataset / "nothing"))
    return options


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("captions are not JSON", "fid2captions.json: is not JSON"),
        ("captions empty", "fid2captions.json: is not JSON"),
        ("captions with BOM", "fid2captions.json: is not JSON"),
        ("captions a list", "fid2captions.json: wants an object"),
        ("a caption that is a number", "fid2captions.json: a: wants a caption"),
        ("an id twice", "fid2captions.json: a: the id is there twice"),
        ("text with CRLF", "text.txt:1: tx_emotion_00203000000: ends with CRLF"),
        ("no recordings", "no utterance has both recording and caption"),
        ("overlap", "is in the lists of valid and test"),
        ("no such list", "nothing: no such list"),
        ("list of strangers", "test: none of its utterances is there"),
        ("no such labels", "nothing: no such file of labels"),
    ],
)
@pytest.mark.slow(5)
def test_bad_input_is_one_line_and_the_earlier_data_stay(recipe, tmp_path, kind, said):
    ids = make_corpus(tmp_path / "corpus", 40)
    succeeds(recipe, corpus=tmp_path / "corpus")
    before = {str(path): path.read_bytes() for path in (recipe / "data").rglob("*") if path.is_file()}
    options = spoiled(kind, tmp_path / "corpus" / "dataset", ids)
    assert said in fails(recipe, *options, corpus=tmp_path / "corpus")
    after = {str(path): path.read_bytes() for path in (recipe / "data").rglob("*") if path.is_file()}
    assert after == before


def test_an_unknown_option(recipe):
    assert "--nonsense" in fails(recipe, "--nonsense", "1")


@pytest.mark.slow(12)
def test_it_ends_with_the_mini_parts(recipe, tmp_path, repo):
    make_corpus(tmp_path / "corpus", 40)
    (recipe / "local").unlink()
    (recipe / "local").mkdir()
    for name in ("data.sh", "data_prep.py"):
        (recipe / "local" / name).symlink_to(repo / "egs2/emospeech/sec1/local" / name)
    succeeds(recipe, "--mini_parts", "true", corpus=tmp_path / "corpus")  # without pretrain.sh: none
    script = recipe / "local" / "pretrain.sh"
    script.write_text('#!/bin/sh\ntest -s data/train/wav.scp && echo "$@" >called\n')
    script.chmod(0o755)
    succeeds(recipe, "--mini_parts", "false", corpus=tmp_path / "corpus")
    assert not (recipe / "called").exists()
    succeeds(recipe, "--mini_parts", "true", corpus=tmp_path / "corpus")
    first, others = "--train_set data/train --output pretrained", "--clap false --bart false --pretrain_config"
    assert (recipe / "called").read_text() == f"{first} --hubert false {others} conf/pretrain.yaml\n"
    options = ("--mini_parts", "true", "--mini_hubert", "true", "--pretrain_config", "own.yaml")
    succeeds(recipe, *options, corpus=tmp_path / "corpus")
    assert (recipe / "called").read_text() == f"{first} --hubert true {others} own.yaml\n"


def test_help_tells_every_option(repo):
    program = repo / "egs2/emospeech/sec1/local/data_prep.py"
    done = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0
    assert "--test_ids" in done.stdout


def test_synthetic_recordings_go_on_to_stage_2(recipe, tmp_path, monkeypatch):
    ids = make_corpus(tmp_path / "corpus", 20)
    for number, utt_id in enumerate(ids):
        noise = np.random.default_rng(number).standard_normal(7200) * 0.1
        sf.write(tmp_path / "corpus" / "dataset" / "wav" / f"{utt_id}.wav", noise, 24000)
    succeeds(recipe, corpus=tmp_path / "corpus")
    monkeypatch.chdir(recipe)
    for more in ([], ["--combine", "true"]):
        format_audio(["--data_dir", "data/train", "--output_dir", "dump/raw/train", "--role", "train", *more])
    assert set(read_kaldi(recipe / "dump/raw/train/utt2num_samples").values()) == {"4800"}


@pytest.mark.slow(5)
def test_the_public_recordings(recipe, shared, monkeypatch, capsys):
    corpus = shared / "emospeech"
    if not (corpus / "dataset" / "fid2captions.json").is_file():
        pytest.skip("needs the public EMOSpeech recordings in shared/emospeech")
    succeeds(recipe, corpus=corpus.resolve())
    sets = ids_of(recipe)
    assert {name: len(ids) for name, ids in sets.items()} == {"train": 400, "valid": 50, "test": 50}
    emotions = Counter(read_kaldi(recipe / "data" / "train" / "utt2emo").values())
    assert emotions["other"] <= 8
    assert sum(count >= 10 for count in emotions.values()) >= 8
    monkeypatch.chdir(recipe)
    for name in SETS:
        assert len(read_kaldi(recipe / "data" / name / "spk2utt")) == 8
        for more in ([], ["--combine", "true"]):
            format_audio(["--data_dir", f"data/{name}", "--output_dir", f"dump/raw/{name}", "--role", name, *more])
        assert list(read_kaldi(recipe / "dump" / "raw" / name / "wav.scp")) == sets[name]
        assert (recipe / "dump" / "raw" / name / "bad_utts.tsv").read_text() == ""


HOSTILE = [
    "a\nb",
    "a\0b",
    "../../up",
    "/etc/x",
    "-rf",
    "x" * 300,
    "\u202eb",
    "$(mkdir evil)",
    "\ud800",
    "a\rb",
    "..",
    "a/b",
]


@pytest.mark.parametrize(
    "where", ["captions", "a caption", "a label", "an id in wav.scp", "a path", "a text", "a list"]
)
@pytest.mark.slow(5)
def test_hostile_names_are_left_out_or_one_error(repo, tmp_path, where, monkeypatch, capsys):
    """Whatever the corpus holds: no traceback, nothing written but data/, every id in it a good one."""
    program = runpy.run_path(str(repo / "egs2/emospeech/sec1/local/data_prep.py"), run_name="data_prep")["main"]
    values = [*HOSTILE, "mkdir evil |", "x" * 6000, "/etc/passwd"]
    for number, value in enumerate(values if where == "a path" else HOSTILE):
        corpus = tmp_path / str(number)
        ids = make_corpus(corpus, 40)
        dataset = corpus / "dataset"
        table = json.loads((dataset / "fid2captions.json").read_text(encoding="utf-8"))
        if where in ("captions", "a caption"):
            table[value if where == "captions" else ids[0]] = [value]
        lines = {"a label": "labels.txt", "an id in wav.scp": "wav.scp", "a path": "wav.scp", "a text": "text.txt"}
        line = {"a label": f"{ids[0]} {value}", "a text": f"{ids[0]}x {value}", "a path": f"q {value}"}
        if where == "a path":
            table["q"] = ["她很高兴"]
        if where == "a label":
            (dataset / "labels.txt").write_text("".join(f"{utt} sad\n" for utt in ids[1:]))
        (dataset / "fid2captions.json").write_text(json.dumps(table))
        if where == "a list":
            (dataset / "test.txt").write_text("\n".join([*ids[:5], value]), encoding="utf-8", errors="surrogatepass")
        elif where in lines:
            with open(dataset / lines[where], "a", encoding="utf-8", errors="surrogatepass") as stream:
                stream.write(line.get(where, f"{value} x.wav") + "\n")
        before = set(corpus.rglob("*"))
        monkeypatch.chdir(corpus)
        try:
            program(["--corpus", str(corpus), "--output", "data"])
            worked = True
        except SystemExit:
            worked = False
        made = {path.relative_to(corpus).parts[0] for path in set(corpus.rglob("*")) - before}
        assert made <= {"data"}, value
        said = capsys.readouterr().err
        if not worked:
            assert said.startswith("data_prep: error: ") and said.count("\n") == 1, said[-500:]
            assert not list((corpus / "data").glob("*")), "no half of it"
        else:
            for name in SETS:
                assert validate_data_dir(corpus / "data" / name) == []
                assert not set(read_kaldi(corpus / "data" / name / "wav.scp")) & set(HOSTILE)

"""Stage 2's files beside the audio: missing transcriptions, renamed labels, segments, odd ids."""

import json

import numpy as np
import pytest
import soundfile as sf

from espnet2_secap.data.format import FormatOptions, combine, format_job
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.data.task import read_task
from espnet2_secap.errors import SecError

IDS = ["a", "b", "c"]


@pytest.fixture
def data(tmp_path):
    """data/ with three utterances, of which one was spoken without words."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, utt in enumerate(IDS):
        sf.write(tmp_path / f"{utt}.wav", np.random.default_rng(number).standard_normal(8000) * 0.1, 16000)
    (folder / "wav.scp").write_text("".join(f"{utt} {tmp_path}/{utt}.wav\n" for utt in IDS))
    (folder / "captions").write_text("".join(f"{utt} {json.dumps([utt])}\n" for utt in IDS))
    (folder / "text").write_text("a some words\nb\nc words\n")
    (folder / "utt2emo").write_text("a Happy\nb happy\nc sad\n")
    (folder / "emo2utt").write_text("Happy a\nhappy b\nsad c\n")
    return folder


def run(data, role="train", **options):
    options = FormatOptions(str(data), str(data.parent / "dump"), role, **options)
    format_job(options, 1)
    return combine(options), data.parent / "dump"


def test_one_empty_transcription_does_not_take_the_text_from_the_set(data):
    told, dump = run(data)
    assert (dump / "text").read_text() == "a some words\nb\nc words\n"
    assert "warning: 1 of 3 utterances have no transcription (b): kept as nothing said" in told


def test_missing_text_skip_leaves_it_out_of_training_but_not_of_a_test_set(data):
    told, dump = run(data, missing_text="skip")
    assert "1 left out (has no transcription: 1), see" in told
    for name in ("wav.scp", "text", "utt2emo"):
        assert list(read_kaldi(dump / name)) == ["a", "c"]
    assert (dump / "bad_utts.tsv").read_text().startswith("b\t")
    told, dump = run(data, role="test", missing_text="skip")
    assert list(read_captions(dump / "captions")) == IDS and (dump / "text").read_text().splitlines()[1] == "b"


def test_missing_text_error_names_the_utterance(data):
    with pytest.raises(SecError, match="text:2: b: has no value"):
        run(data, missing_text="error")


@pytest.mark.parametrize("missing_text", ["skip", "empty"])
def test_text_that_lacks_an_id_is_as_text_without_words(data, missing_text):
    (data / "text").write_text("a some words\n")
    _, dump = run(data, missing_text=missing_text)
    expected = {"a": "some words"} if missing_text == "skip" else {"a": "some words", "b": "", "c": ""}
    assert read_kaldi(dump / "text", may_be_empty=True) == expected


def test_a_text_without_any_word_is_refused(data):
    (data / "text").write_text("a\nb\nc\n")
    with pytest.raises(SecError, match="text: no utterance has words; add the transcriptions, or remove this file"):
        read_task(data, False, "empty", None)


def test_labels_in_two_spellings_are_told_and_an_emotion_map_makes_them_one(data, tmp_path):
    told, dump = run(data)
    assert "warning: utt2emo: one label in several spellings: 'Happy' (dump: 1), 'happy' (dump: 1)" in told
    (tmp_path / "map").write_text("Happy happy\nneu neutral\n")
    told, dump = run(data, emotion_map=str(tmp_path / "map"))
    assert read_kaldi(dump / "utt2emo") == {"a": "happy", "b": "happy", "c": "sad"}
    assert read_kaldi(dump / "emo2utt") == {"happy": "a b", "sad": "c"}
    assert "several spellings" not in told
    assert "note: --emotion_map names labels that utt2emo of this set does not have: neu" in told


def test_another_emotion_map_makes_other_outputs(data, tmp_path):
    """What the jobs did under one map is not joined under another."""
    run(data)
    (tmp_path / "map").write_text("Happy happy\n")
    with pytest.raises(SecError, match="made from other data, another model or other options"):
        combine(FormatOptions(str(data), str(tmp_path / "dump"), "train", emotion_map=str(tmp_path / "map")))


def test_segments_are_cut_from_their_recordings(data, tmp_path):
    (data / "wav.scp").write_text(f"rec/1 {tmp_path}/a.wav\nrec/2 cat {tmp_path}/b.wav |\n")
    (data / "segments").write_text("a rec/1 0 0.2\nb rec/2 0.1 -1\nc rec/1 0.25 0.6\n")
    told, dump = run(data, role="test", allow_pipes=True)
    assert "note: 3 cut from recordings by segments" in told
    sounds = {name: sf.read(tmp_path / f"{name}.wav", dtype="int16")[0] for name in "ab"}
    expected = {"a": sounds["a"][:3200], "b": sounds["b"][1600:], "c": sounds["a"][4000:]}
    for utt, path in read_kaldi(dump / "wav.scp").items():
        assert np.array_equal(sf.read(path, dtype="int16")[0], expected[utt])
    assert not (dump / "segments").exists()


def test_a_segment_is_cut_again_only_where_it_changed(data, tmp_path):
    (data / "wav.scp").write_text(f"r {tmp_path}/a.wav\n")
    (data / "segments").write_text("a r 0 0.2\nb r 0.2 0.4\nc r 0.4 -1\n")
    _, dump = run(data)
    before = {utt: open(path, "rb").read() for utt, path in read_kaldi(dump / "wav.scp").items()}
    inodes = {path.name: path.stat().st_ino for path in (dump / "data/format.1").iterdir()}
    (data / "segments").write_text("a r 0 0.2\nb r 0.25 0.4\nc r 0.4 -1\n")
    run(data)
    assert {path.name for path in (dump / "data/format.1").iterdir() if path.stat().st_ino != inodes[path.name]} == {
        "b.wav"
    }
    after = {utt: open(path, "rb").read() for utt, path in read_kaldi(dump / "wav.scp").items()}
    assert {utt for utt in IDS if before[utt] != after[utt]} == {"b"}


def test_a_segment_beyond_its_recording_is_a_bad_utterance(data, tmp_path):
    (data / "wav.scp").write_text(f"r {tmp_path}/a.wav\n")
    (data / "segments").write_text("a r 0 0.2\nb r 7 8\nc r 0.4 -1\n")
    told, dump = run(data)
    assert "1 left out (starts after the recording's end: 1)" in told and list(read_kaldi(dump / "wav.scp")) == [
        "a",
        "c",
    ]
    with pytest.raises(SecError, match="1 of 3 test utterances cannot be used .b: .*starts after the recording's end"):
        run(data, role="test")

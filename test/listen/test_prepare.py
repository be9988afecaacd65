import base64
import io
import json

import numpy as np
import pytest
import soundfile
from listening import SYSTEMS, make_corpus, prepare

from espnet2_secap.bin import sec_listen
from espnet2_secap.errors import SecError
from espnet2_secap.listen.prepare import encode, read_emotions, read_recordings, read_seconds, read_systems


def test_captions_of_any_format_the_first_of_several_and_no_empty_ones(tmp_path):
    (tmp_path / "a").write_text('u1 ["one", "two"]\nu2 [" "]\n')
    (tmp_path / "b.json").write_text(json.dumps({"u1": "x", "u2": "y"}))
    found = read_systems([f"a={tmp_path}/a", f"b={tmp_path}/b.json"])
    assert found == {"a": {"u1": "one"}, "b": {"u1": "x", "u2": "y"}}


@pytest.mark.parametrize("given", ["a", "=x", "a=", "\n=x", "a={}/a a={}/a", "a={}/none", "a={}/empty"])
def test_systems_that_are_none(tmp_path, given):
    (tmp_path / "a").write_text("u1 one\n")
    (tmp_path / "empty").write_text('u1 [""]\n')
    with pytest.raises(SecError):
        read_systems(given.format(tmp_path, tmp_path).split(" "))


@pytest.mark.parametrize(("form", "exact"), [("flac", True), ("mp3", False)])
def test_recordings_are_embedded_at_their_own_rate(tmp_path, form, exact):
    data, _ = make_corpus(tmp_path, 2)
    recordings = read_recordings(data)
    seconds, notes = read_seconds(recordings)
    assert seconds == {"utt00": pytest.approx(0.2), "utt01": pytest.approx(0.2)} and notes == []
    addresses = encode(recordings.values(), form)
    head, content = addresses["utt01"].split(",", 1)
    assert head == f"data:audio/{'flac' if exact else 'mpeg'};base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    original, _ = soundfile.read(data / "utt01.wav", dtype="int16")
    assert rate == 24000
    if exact:
        np.testing.assert_array_equal(samples, original)
    else:
        assert abs(len(samples) - len(original)) < 3000 and np.abs(samples).max() > 5000


def test_recordings_that_cannot_be_read_are_not_drawn(tmp_path, capsys):
    data, _ = make_corpus(tmp_path, 12)
    (data / "utt03.wav").write_bytes(b"")
    seconds, notes = read_seconds(read_recordings(data))
    assert len(seconds) == 11 and notes == [
        "1 recordings cannot be read and are not drawn: utt03: is an empty file; copy it again"
    ]
    assert read_emotions(data)["utt01"] == "happy" and read_emotions(tmp_path) == {}
    for path in data.glob("*.wav"):
        path.write_bytes(b"x")
    with pytest.raises(SecError, match="no recording can be read: utt00"):
        read_seconds(read_recordings(data))
    with pytest.raises(SecError, match="give a data directory as --data_dir"):
        read_recordings(tmp_path)


def test_no_command_of_wav_scp_is_run(tmp_path):
    data, _ = make_corpus(tmp_path, 2)
    (data / "wav.scp").write_text(f"utt00 touch {tmp_path}/run |\n")
    with pytest.raises(SecError):
        read_seconds(read_recordings(data))
    assert not (tmp_path / "run").exists()


def test_the_program_writes_pages_that_name_no_system(tmp_path, capsys):
    design = prepare(tmp_path, per_utterance=1, practice=1, catch=2)
    out = capsys.readouterr().out
    assert "6 utterances x 3 systems, 3 groups, 8 answers of each listener; each caption is rated by 1 of" in out
    assert len(design.groups) == 3
    for group in (1, 2, 3):
        text = (tmp_path / "test" / f"group_{group}.html").read_text()
        data = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
        assert not any(f'"{name}"' in data for name in [*SYSTEMS, "catch", "rated"]) and '"utt' not in data
        assert set(json.loads(data)["items"][0]) == {"id", "audio", "caption", "practice"}
    assert (tmp_path / "test" / "design.json").stat().st_mode & 0o077 == 0
    before = (tmp_path / "test" / "group_2.html").read_bytes()
    words = [f"{name}={tmp_path}/{name}.captions" for name in SYSTEMS]
    again = [
        "prepare",
        "--data_dir",
        str(tmp_path / "data/test"),
        "--systems",
        *words,
        "--output",
        str(tmp_path / "test"),
    ]
    again += ["--utterances", "6", "--lang", "en", "--per_utterance", "1", "--practice", "1", "--catch", "2"]
    sec_listen.main(again)
    assert (tmp_path / "test" / "group_2.html").read_bytes() == before
    (tmp_path / "test" / "answers.sqlite").write_bytes(b"")
    sec_listen.main(again)
    with pytest.raises(SystemExit):
        sec_listen.main([*again, "--seed", "1"])
    assert "holds answers to other pages" in capsys.readouterr().err

"""Windows, batches and the journal, with a model of one line: it says how long and how loud a piece is."""

import numpy as np
import pytest
import soundfile as sf
from sounds import content, noise, patched, tone

from espnet2_secap.data.sources import find_recordings
from espnet2_secap.inference import caption_files
from espnet2_secap.inference.caption_files import FileCaptioner, one_line, piece_id, readable
from espnet2_secap.inference.caption_output import Journal

FS = 8000


class Loudness:
    """A model whose captions depend on the batch, as those of a real one do in their last digits."""

    fs, min_samples, max_seconds = FS, 80, 2.0

    def __init__(self):
        self.batches = []

    def caption(self, waves):
        self.batches.append([len(wave) for wave in waves])
        return [[(f"{len(wave)} of {len(waves)}", float(np.abs(wave).max()))] for wave in waves]


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for at in range(9):
        samples = 0.1 * rng.standard_normal(FS // 2 + 1000 * ((7 * at) % 9))
        if at == 4:
            pause = 1e-4 * rng.standard_normal(FS)
            samples = np.concatenate([samples, pause, samples, pause, samples])
        sf.write(tmp_path / "in" / f"r{at}.wav", samples, FS)
    return find_recordings([str(tmp_path / "in")])[0]


def run(recordings, journal, model, failures=None, batch_size=2):
    captioner = FileCaptioner(lambda: model, journal, batch_size)
    failures = {} if failures is None else failures
    return dict(captioner.run(recordings, lambda recording, why: failures.update({recording.id: why})))


def test_windows_are_sorted_by_length_and_every_recording_comes_once(recordings, monkeypatch):
    monkeypatch.setattr(caption_files, "WINDOW", 3)  # of 6 pieces at least
    model = Loudness()
    found = run(recordings, Journal(None, ""), model)
    assert sorted(found) == list(range(9)) and list(found) != sorted(found)
    assert [row.id for place in range(9) if place != 4 for row in found[place]] == [f"r{i}" for i in range(9) if i != 4]
    assert len(found[4]) >= 2 and sum(map(len, model.batches)) == 8 + len(found[4])
    lengths = [length for batch in model.batches for length in batch]
    assert lengths != sorted(lengths)  # more than one window
    first = model.batches[:3]
    assert [x for batch in first for x in batch] == sorted(x for batch in first for x in batch)
    for row in found[4]:
        assert row.id == piece_id("r4", row.start, row.end) and row.end - row.start <= 2.0


@pytest.mark.parametrize("kept", range(1, 16))
def test_a_run_cut_anywhere_ends_as_if_it_had_not_been(recordings, tmp_path, monkeypatch, kept):
    monkeypatch.setattr(caption_files, "WINDOW", 3)
    whole, model = Journal(tmp_path / "whole", "f"), Loudness()
    expected = run(recordings, whole, model)
    whole.close()
    lines = whole.path.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 15
    (tmp_path / "cut.journal").write_bytes(b"".join(lines[:kept]))
    cut, again = Journal(tmp_path / "cut", "f"), Loudness()
    assert run(recordings, cut, again) == expected
    done = sum(b'"captions"' in line for line in lines[:kept])
    assert again.batches == model.batches[done:]
    cut.close()
    assert sorted((tmp_path / "cut.journal").read_bytes().splitlines()) == sorted(whole.path.read_bytes().splitlines())


def test_a_file_that_is_gone_when_its_turn_comes_fails_alone(recordings, tmp_path, monkeypatch):
    journal = Journal(tmp_path / "out", "f")
    run(recordings, journal, Loudness())
    journal.captions.clear()
    stamp = caption_files._stamp
    stamps = {recording.path: stamp(recording.path) for recording in recordings}
    (tmp_path / "in" / "r2.wav").unlink()
    monkeypatch.setattr(caption_files, "_stamp", lambda path: stamps[path])  # it vanishes after it was looked at
    failures = {}
    found = run(recordings, journal, Loudness(), failures)
    assert sorted(found) == list(range(9)) and found[2] == [] and all(found[i] for i in range(9) if i != 2)
    assert list(failures) == ["r2"] and "does not exist" in failures["r2"]


def test_what_fails_again_needs_no_model(recordings, tmp_path):
    sf.write(tmp_path / "in" / "r5.wav", np.zeros(FS), FS)
    journal, failures = Journal(tmp_path / "out", "f"), {}
    expected = run(recordings, journal, Loudness(), failures)
    assert expected[5] == [] and failures["r5"].startswith("is silent")
    assert run(recordings, journal, None) == expected


def test_a_piece_does_not_take_the_id_of_another_recording(recordings, tmp_path):
    taken = next(row.id for row in run(recordings, Journal(None, ""), Loudness())[4])
    sf.write(tmp_path / "in" / f"{taken}.wav", 0.1 * np.ones(FS), FS)
    failures = {}
    found = run(find_recordings([str(tmp_path / "in")])[0], Journal(None, ""), Loudness(), failures)
    assert list(failures) == ["r4"] and f"would have the id {taken}" in failures["r4"] and len(found) == 10


def test_headers_are_looked_at_before_anything_is_loaded(recordings, tmp_path):
    (tmp_path / "in" / "r3.wav").write_bytes(b"")
    failures = {}
    good = readable(recordings, lambda recording, why: failures.update({recording.id: why}))
    assert len(good) == 8 and list(failures) == ["r3"] and failures["r3"].startswith("is an empty file")


def test_captions_fit_on_one_line():
    assert one_line(" a\tb\r\n\x00c\x85d  e ") == "a b c d e"
    assert one_line("语速较快，\u200d愤怒") == "语速较快，\u200d愤怒"


def test_what_headers_get_wrong_and_what_is_clipped_is_told(tmp_path):
    """Kinds: a container's header is believed; levels. The captions are of all that is there."""
    (tmp_path / "a.wav").write_bytes(patched(content(noise(1, FS), FS), 40, 4000))
    (tmp_path / "b.wav").write_bytes(content(3.0 * tone(1, FS), FS, subtype="FLOAT"))
    (tmp_path / "c.wav").write_bytes(content(8.0 * tone(1, FS), FS, subtype="FLOAT"))
    told, failures = [], {}
    captioner = FileCaptioner(
        Loudness, Journal(None, ""), noted=lambda recording, note: told.append(f"{recording.id}: {note}")
    )
    recordings = find_recordings([str(tmp_path)])[0]
    found = dict(captioner.run(recordings, lambda recording, why: failures.update({recording.id: why})))
    assert [row.candidates[0]["text"].split()[0] for row in found[0] + found[1]] == ["8000", "8000"]
    assert told[0] == "a: with less in the header than there is, read to the end"
    assert told[1].startswith("b: clipped at full scale, up to 5") and len(told) == 2
    assert failures == {"c": "has float samples up to 4.0, expected -1 to 1; scale it"}

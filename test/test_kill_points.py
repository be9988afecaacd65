"""Whatever change of a file a kill comes before: the same work again leaves the same files, and no others.

The files of stages 2, 4, 7 and 8; those of stage 3 in test/feats/test_extract.py.
"""

import json
import os

import kaldiio
import numpy as np
import pytest
import soundfile
from kill_points import content, kill_at_every_change

from espnet2_secap.bin import sec_baseline, sec_collect_stats, sec_report, sec_score
from espnet2_secap.data.format import FormatOptions, combine, format_job
from espnet2_secap.data.io import write_captions, write_kaldi
from espnet2_secap.inference import outputs
from espnet2_secap.process.jobs import Journal


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # against power cuts, not kills, and slow
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.slow(8)
def test_stage_2(place):
    ids = ["a", "b", "c", "silent"]
    (place / "data").mkdir()
    for number, utt in enumerate(ids):
        noise = np.random.default_rng(number).standard_normal(4800) * 0.1 * (utt != "silent")
        soundfile.write(f"{utt}.wav", noise, 8000)
    write_kaldi("data/wav.scp", {utt: f"{utt}.wav" for utt in ids})
    write_captions("data/captions", {utt: [utt] for utt in ids})
    write_kaldi("data/utt2spk", dict.fromkeys(ids, "s"))
    write_kaldi("data/spk2utt", {"s": " ".join(ids)})
    options = FormatOptions("data", "out", "train", nj=2)

    def work():
        for job in (1, 2):
            format_job(options, job)
        combine(options)

    assert kill_at_every_change(place / "out", work) > 30
    assert (place / "out" / "bad_utts.tsv").read_text().startswith("silent\t")


def test_stage_4(place):
    feats = {f"u{i}": np.random.default_rng(i).standard_normal((5 + i, 3)).astype(np.float32) for i in range(4)}
    kaldiio.save_ark("f.ark", feats, scp="feats.scp")
    write_kaldi("utt2num_frames", {utt: len(x) for utt, x in feats.items()})
    (place / "config.json").write_text('{"num_layers": 1, "dim": 3}')
    options = ["--dir", ".", "--output", "out/train/speech_shape", "--feats_stats", "out/train/feats_stats.npz"]
    assert kill_at_every_change(place / "out", lambda: sec_collect_stats.main(options)) >= 4


@pytest.mark.slow(5)
def test_stage_7(place):
    ids = [f"u{i}" for i in range(5)]
    write_kaldi("feats.scp", dict.fromkeys(ids, "f.ark:1"))

    def work():
        for job, numbers in ((1, [0, 2, 4]), (2, [1, 3])):
            journal = Journal("out", outputs.NAME, job, 2, {"fingerprint": "x", "seed": 3}, numbers)
            for number in [number for number in numbers if number not in journal.done]:
                text = {"text": f"caption {number}", "score": 0.5}
                journal.add(number, [{"id": f"u{number}", "prompt": "p", "candidates": [text], "kept": 1}])
        outputs.combine("out", ".", 2, "out/shuffled")

    assert kill_at_every_change(place / "out", work) > 15
    assert sorted(content(place / "out")) == [
        "candidates.jsonl", "captions", "shuffled/candidates.jsonl", "shuffled/captions",
    ]  # fmt: skip


@pytest.mark.slow(30)
def test_stage_8(place):
    references = {f"u{i}": ["声音低沉，听起来很悲伤", "语速较快，十分开心"][i % 2 :] for i in range(4)}
    write_captions("captions", references)
    write_captions("mine", {utt: ["声音高亢，十分开心"] for utt in references})

    def work():
        system = "out/random_caption/test"
        sec_baseline.main(["--kind", "random", "--train_captions", "mine", "--ids", "captions", "--output", system])
        files = ["--ref", "captions", "--hyp", f"{system}/captions", "--output", f"{system}/score.json"]
        sec_score.main([*files, "--metrics", "rouge_l", "emotion_recall"])
        sec_report.main(["--expdir", "out"])

    assert kill_at_every_change(place / "out", work) > 15
    assert "random_caption" in json.loads((place / "out" / "results.json").read_text())

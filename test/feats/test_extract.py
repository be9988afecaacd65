import json
import os

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from kill_points import kill_at_every_change
from tiny_clap import make_clap

from espnet2_secap.encoder.s3prl import S3PRLEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.feats.extract import combine, make_batches, run_job
from espnet2_secap.feats.shards import Settings, Utt, plan
from espnet2_secap.tasks.parts import CHOICES

LENGTHS = [4000, 9000, 400, 4000, 6001, 12000] * 10  # 60 utterances: two shards


@pytest.fixture(scope="module")
def work(tmp_path_factory, make_model):
    """A folder with dump/raw/train of 60 utterances, a HuBERT and one whose padding matters."""
    top = tmp_path_factory.mktemp("dump")
    raw = top / "dump" / "raw" / "train"
    raw.mkdir(parents=True)
    noise = np.random.default_rng(0)
    scp, num = [], []
    for i, n in enumerate(LENGTHS):
        soundfile.write(raw / f"u{i:02d}.wav", 0.1 * noise.standard_normal(n), 16000)
        scp.append(f"u{i:02d} {raw}/u{i:02d}.wav\n")
        num.append(f"u{i:02d} {n}\n")
    (raw / "wav.scp").write_text("".join(scp))
    (raw / "utt2num_samples").write_text("".join(num))
    make_model(top / "hubert", do_stable_layer_norm=True)
    make_model(top / "group", feat_extract_norm="group")
    return top


def settings_of(model, layer, dtype) -> Settings:
    conf = {"upstream": "hf_hubert_custom", "path": str(model), "layer": layer}
    return Settings("s3prl", conf, dtype)


def builder(settings):
    return lambda: CHOICES["encoder"].build(settings.encoder, settings.conf)


def dump(work, output, model="hubert", nj=1, batch_seconds=2.0, layer="last", dtype="float32"):
    """Run all jobs, combine, and read what is there."""
    settings = settings_of(work / model, layer, dtype)
    shards = plan(work / "dump", ["train"], output, settings)
    for job in range(1, nj + 1):
        run_job(shards, nj, job, batch_seconds, "cpu", builder(settings))
    combine(shards, nj)
    return dict(kaldiio.load_scp(str(output / "train" / "feats.scp")))


def expected(work, model="hubert", layer="last"):
    encoder = S3PRLEncoder("hf_hubert_custom", str(work / model), layer=layer)
    feats = {}
    for i, n in enumerate(LENGTHS):
        wav, _ = soundfile.read(work / "dump" / "raw" / "train" / f"u{i:02d}.wav", dtype="float32")
        feats[f"u{i:02d}"] = encoder(torch.from_numpy(wav)[None], torch.tensor([n]))[0][0].numpy()
    return feats


@pytest.mark.parametrize("model,layer", [("hubert", "last"), ("group", "1"), ("hubert", "all")])
def test_the_arks_hold_what_the_encoder_gives(work, tmp_path, model, layer):
    feats = dump(work, tmp_path, model, layer=layer)
    want = expected(work, model, layer)
    assert list(feats) == sorted(want)
    for utt, value in feats.items():
        assert value.dtype == np.float32 and value.shape == want[utt].shape
        assert np.abs(value - want[utt]).max() < 1e-5
    frames = dict(line.split() for line in (tmp_path / "train" / "utt2num_frames").read_text().splitlines())
    assert frames == {utt: str(len(value)) for utt, value in want.items()}
    config = json.loads((tmp_path / "train" / "config.json").read_text())
    assert config == {
        "encoder": "s3prl",
        "encoder_conf": {"upstream": "hf_hubert_custom", "path": str(work / model), "layer": layer},
        "dtype": "float32",
        "num_layers": 4 if layer == "all" else 1,
        "dim": 32,
        "frame_shift": 320,
        "sampling_rate": 16000,
    }


def test_utterances_that_are_not_read_to_their_end_are_told(tmp_path, capsys):
    make_clap(tmp_path / "clap", front_end={})
    raw = tmp_path / "dump/raw/train"
    raw.mkdir(parents=True)
    for name, seconds in (("long", 11), ("short", 1)):
        soundfile.write(raw / f"{name}.wav", np.tile([0.1, -0.1], 8000 * seconds), 16000)
    (raw / "wav.scp").write_text("".join(f"{name} {raw}/{name}.wav\n" for name in ("long", "short")))
    (raw / "utt2num_samples").write_text(f"long {11 * 16000}\nshort 16000\n")
    settings = Settings("clap", {"path": str(tmp_path / "clap"), "front_end": "released"}, "float32")
    shards = plan(tmp_path / "dump", ["train"], tmp_path / "x", settings)
    run_job(shards, 1, 1, 2.0, "cpu", builder(settings))
    combine(shards, 1)
    told = "1 of 2 utterances (long) have more than the 10 s that this encoder reads, from the start"
    assert f"note: {tmp_path}/x/train: {told}\n" in capsys.readouterr().out


def test_what_an_encoder_remarks_is_told_by_set(tmp_path, capsys):
    raw = tmp_path / "dump/raw/train"
    raw.mkdir(parents=True)
    sawtooth = 0.5 * (2 * (np.arange(8000) * 150 / 16000 % 1) - 1)
    sounds = {
        "voiced": sawtooth,
        "hiss": 0.01 * np.random.default_rng(0).standard_normal(2000),
        "short": sawtooth[:400],
    }
    for name, sound in sounds.items():
        soundfile.write(raw / f"{name}.wav", sound, 16000)
    (raw / "wav.scp").write_text("".join(f"{name} {raw}/{name}.wav\n" for name in sorted(sounds)))
    (raw / "utt2num_samples").write_text("".join(f"{name} {len(sounds[name])}\n" for name in sorted(sounds)))
    settings = Settings("acoustic", {"level": "utterance"}, "float32")
    shards = plan(tmp_path / "dump", ["train"], tmp_path / "x", settings)
    for _ in range(2):  # made, and kept
        run_job(shards, 1, 1, 2.0, "cpu", builder(settings))
        combine(shards, 1)
        told = "2 of 3 utterances (hiss, short) have no voiced frame, so that their F0 is 0 throughout"
        assert f"note: {tmp_path}/x/train: {told}\n" in capsys.readouterr().out


def test_any_number_of_jobs_makes_the_same_bytes(work, tmp_path, monkeypatch):
    for name, nj in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        dump(work, tmp_path / name / "out", nj=nj)
    one, three = (sorted((tmp_path / name / "out").rglob("*")) for name in ("one", "three"))
    assert [path.relative_to(tmp_path / "one") for path in one] == [
        path.relative_to(tmp_path / "three") for path in three
    ]
    for a, b in zip(one, three, strict=True):
        if a.is_file() and a.name != "feats.scp":
            assert a.read_bytes() == b.read_bytes(), a


def test_the_size_of_a_batch_changes_nothing(work, tmp_path):
    one_by_one, together = (
        dump(work, tmp_path / "1", batch_seconds=0.01),
        dump(work, tmp_path / "2", batch_seconds=9),
    )
    assert max(np.abs(one_by_one[utt] - together[utt]).max() for utt in together) < 1e-5


def test_half_precision_and_what_it_costs(work, tmp_path, record_property):
    from espnet2.train.dataset import ESPnetDataset

    full, half = dump(work, tmp_path / "full"), dump(work, tmp_path / "half", dtype="float16")
    a, b = (np.concatenate([feats[utt].astype(np.float64) for utt in sorted(full)]) for feats in (full, half))
    assert all(value.dtype == np.float16 for value in half.values())
    worst = np.abs(a - b).max()
    relative = np.sqrt(np.mean((a - b) ** 2) / np.mean(a**2))
    record_property("float16_max_abs_error", float(worst))
    record_property("float16_relative_rms_error", float(relative))
    assert 0 < worst <= 2.0**-11 * np.abs(a).max() + 1e-7  # 11 bits of mantissa, rounded to nearest
    assert 1e-5 < relative < 3e-4
    sizes = [sum(ark.stat().st_size for ark in (tmp_path / name).rglob("*.ark")) for name in ("full", "half")]
    assert sizes[1] < 0.56 * sizes[0]  # the names and headers of short utterances are not halved
    # as training reads them
    data = ESPnetDataset([(str(tmp_path / "half" / "train" / "feats.scp"), "speech", "kaldi_ark")])
    value = data["u05"][1]["speech"]
    assert value.dtype == np.float32 and np.array_equal(value, half["u05"])


def test_too_large_for_half_precision(work, tmp_path):
    from transformers import HubertModel

    model = HubertModel.from_pretrained(work / "hubert")
    with torch.no_grad():
        model.encoder.layer_norm.bias.add_(70000.0)
    model.save_pretrained(tmp_path / "large")
    (tmp_path / "large" / "preprocessor_config.json").write_bytes(
        (work / "hubert" / "preprocessor_config.json").read_bytes()
    )
    settings = settings_of(tmp_path / "large", "last", "float16")
    with pytest.raises(SecError, match="u.*too large for float16; use --dtype float32"):
        run_job(plan(work / "dump", ["train"], tmp_path / "out", settings), 1, 1, 2.0, "cpu", builder(settings))


def test_finished_parts_are_kept_and_others_made_anew(work, tmp_path, capsys):
    dump(work, tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    arks = [path for path in files if path.suffix == ".ark"]
    capsys.readouterr()
    dump(work, tmp_path)  # nothing to do
    assert "2 parts, 2 of them finished already" in capsys.readouterr().err
    assert [path.stat().st_mtime_ns for path in arks] == [first[path][1] for path in arks]
    # a part cut short, an index cut short, leftovers of a killed job and of a longer list
    data = tmp_path / "train" / "data"
    (data / "feats.1.ark").write_bytes(first[data / "feats.1.ark"][0][:-1])
    (data / "feats.2.json").write_bytes(first[data / "feats.2.json"][0][:-9])
    for left in ("feats.1.ark.tmp.77", "feats.7.ark", "feats.7.json"):
        (data / left).write_bytes(b"left")
    dump(work, tmp_path)
    assert "2 parts, 0 of them finished already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {
        path: content for path, (content, _) in first.items()
    }
    # other settings: nothing is mixed
    layer = dump(work, tmp_path, layer="1")
    assert "2 computed again: settings, model or audio have changed" in capsys.readouterr().err
    assert np.abs(layer["u00"] - expected(work, layer="1")["u00"]).max() < 1e-5


def test_another_setting_needs_all_jobs_before_it_is_combined(work, tmp_path):
    dump(work, tmp_path)
    settings = settings_of(work / "hubert", "1", "float32")
    shards = plan(work / "dump", ["train"], tmp_path, settings)
    with pytest.raises(SecError, match=r"job\(s\) 1, 2 of 2: made from other data, another model or"):
        combine(shards, 2)
    assert (tmp_path / "train" / "feats.scp").is_file()  # the earlier ones, still whole
    run_job(shards, 2, 1, 2.0, "cpu", builder(settings))
    assert not (tmp_path / "train" / "feats.scp").exists()  # it would point into both
    with pytest.raises(SecError, match=r"job\(s\) 2 of 2: made from other data"):
        combine(shards, 2)
    (tmp_path / "train" / "data" / "feats.2.json").unlink()
    with pytest.raises(SecError, match=r"job\(s\) 2 of 2: not finished; run them again \(stage 3\)"):
        combine(shards, 2)
    run_job(shards, 2, 2, 2.0, "cpu", builder(settings))
    combine(shards, 2)


@pytest.mark.slow(20)
def test_a_kill_before_any_change_of_a_file_changes_nothing_in_the_end(work, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # against power cuts, not kills, and slow
    raw, out = tmp_path / "dump" / "raw" / "train", tmp_path / "out"
    raw.mkdir(parents=True)
    out.mkdir()
    ids = [f"u{i:02d}" for i in range(60)]  # two parts
    soundfile.write(raw / "short.wav", 0.1 * np.random.default_rng(0).standard_normal(400), 16000)
    (raw / "wav.scp").write_text("".join(f"{utt} {raw}/short.wav\n" for utt in ids))
    (raw / "utt2num_samples").write_text("".join(f"{utt} 400\n" for utt in ids))
    settings = settings_of(work / "hubert", "last", "float32")

    def stage():
        shards = plan(tmp_path / "dump", ["train"], out, settings)
        for job in (1, 2):
            run_job(shards, 2, job, 9.0, "cpu", builder(settings))
        combine(shards, 2)

    assert kill_at_every_change(out, stage) > 12


def test_batches():
    utts = [Utt(name, "", n) for name, n in (("a", 3), ("b", 9), ("c", 3), ("d", 4), ("e", 20), ("f", 3))]
    names = [[utt.id for utt in batch] for batch in make_batches(utts, 18, True)]
    assert names == [["e"], ["b", "d"], ["a", "c", "f"]]
    names = [[utt.id for utt in batch] for batch in make_batches(utts, 6, False)]
    assert names == [["e"], ["b"], ["d"], ["a", "c"], ["f"]]

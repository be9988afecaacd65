import os

import pytest

from espnet2_secap.data.io import write_kaldi
from espnet2_secap.errors import SecError
from espnet2_secap.feats.shards import Settings, Utt, loads, plan
from espnet2_secap.process.jobs import share


@pytest.fixture
def raw(tmp_path):
    """130 utterances in dump/raw/train: files that are not audio, for nothing here looks inside."""
    folder = tmp_path / "dump" / "raw" / "train"
    folder.mkdir(parents=True)
    ids = [f"u{i:03d}" for i in range(130)]
    for utt in ids:
        (folder / f"{utt}.wav").write_bytes(b"x")
    (folder / "wav.scp").write_text("".join(f"{utt} {folder / utt}.wav\n" for utt in ids))
    (folder / "utt2num_samples").write_text("".join(f"{utt} 16000\n" for utt in ids))
    return folder


def settings(**other):
    conf = {"upstream": "fbank", "layer": "last"}
    return Settings(**{"encoder": "s3prl", "dtype": "float32", "conf": conf | other.pop("conf", {}), **other})


def prints(raw, **other):
    return [s.fingerprint() for s in plan(raw.parent.parent, ["train"], raw.parent.parent / "out", settings(**other))]


def test_shards_cover_the_set_in_order(raw, tmp_path):
    shards = plan(tmp_path / "dump", ["train"], tmp_path / "out", settings())
    assert [len(shard.utts) for shard in shards] == [16, 16, 16, 17] * 2
    assert [utt.id for shard in shards for utt in shard.utts] == [f"u{i:03d}" for i in range(130)]
    assert shards[1].ark == tmp_path / "out" / "train" / "data" / "feats.2.ark"


def test_large_sets_have_shards_of_64_and_small_ones_enough_for_eight_jobs(raw, tmp_path):
    utts = [Utt(f"u{i:04d}", str(raw / "u000.wav"), 16000) for i in range(1200)]
    for count, sizes in ((1200, {63, 64}), (512, {64}), (256, {32}), (100, {25}), (96, {24}), (36, {18}), (12, {12})):
        write_kaldi(raw / "wav.scp", {utt.id: utt.path for utt in utts[:count]})
        write_kaldi(raw / "utt2num_samples", {utt.id: utt.samples for utt in utts[:count]})
        shards = plan(tmp_path / "dump", ["train"], tmp_path / "out", settings())
        assert {len(shard.utts) for shard in shards} == sizes
        assert [utt for shard in shards for utt in shard.utts] == utts[:count]


def test_jobs_get_equal_amounts_of_audio(raw, tmp_path):
    seconds = [4] * 16 + [1] * 114  # shards of 64, 16, 16, 17, 16, 16, 16 and 17 s
    lines = (f"u{i:03d} {16000 * length}\n" for i, length in enumerate(seconds))
    (raw / "utt2num_samples").write_text("".join(lines))
    shards = plan(tmp_path / "dump", ["train"], tmp_path / "out", settings())
    numbers = [[shard.number for shard in share(loads(shards), 2, job)] for job in (1, 2)]
    # 64 | 17 + 17 + 16 + 16 = 66; 80 | 66; 80 | 82; 96 | 82
    assert numbers == [[1, 5, 7], [2, 3, 4, 6, 8]]
    assert [[shard.number for shard in share(loads(shards), 9, job)] for job in (1, 2, 9)] == [[1], [4], []]
    assert share(loads(shards), 1, 1) == shards


def test_fingerprints_follow_what_the_features_depend_on(raw, tmp_path):
    before = prints(raw)
    assert len(set(before)) == 8 and prints(raw) == before
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    variants = [{"conf": {"layer": "1"}}, {"dtype": "float16"}, {"encoder": "mfcc"}, {"conf": {"a": {"b": 1}}}]
    every = [before, *(prints(raw, **other) for other in variants), prints(raw, conf={"path": str(model)})]
    assert len({one for some in every for one in some}) == 8 * len(every)
    (model / "weights").write_text("22")  # trained again
    assert not set(prints(raw, conf={"path": str(model)})) & set(every[-1])
    (raw / "u100.wav").write_bytes(b"longer")  # another recording: its shard only
    after = prints(raw)
    assert [a == b for a, b in zip(after, before, strict=True)] == [True] * 6 + [False, True]
    os.utime(raw / "u129.wav", (1, 1))
    assert prints(raw)[7] != after[7]


def test_missing_audio_is_named(raw):
    (raw / "u100.wav").unlink()
    with pytest.raises(SecError, match="u100.wav: u100: does not exist; run stage 2 again"):
        prints(raw)

from collections import Counter

import pytest
from tiny_folds import SYSTEM, decode, make_recipe

from espnet2_secap.data import folds
from espnet2_secap.data.io import read_captions, read_kaldi, write_kaldi
from espnet2_secap.data.subsets import DataDir, read_data_dir
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.errors import SecError
from espnet2_secap.metric.caption_file import read_caption_file

SPEAKERS = {f"u{i:03}": f"s{i % 7}" for i in range(103)}
EMOTIONS = {
    utt: "rare" if utt == "u050" else ("angry", "calm", "sad", "calm")[int(utt[1:]) // 7 % 4] for utt in SPEAKERS
}


@pytest.mark.parametrize("by", folds.FOLD_BY)
def test_each_recording_is_tested_once_and_never_trained_on_where_it_is(by):
    parts = folds.divide(SPEAKERS, EMOTIONS, 5, by)
    assert sorted(utt for part in parts for utt in part) == sorted(SPEAKERS)
    for fold, part in zip(folds.make_folds(parts, SPEAKERS, EMOTIONS), parts, strict=True):
        assert fold.test == part
        assert sorted(fold.train + fold.valid + fold.test) == sorted(SPEAKERS)
        assert len(fold.valid) == len(SPEAKERS) // 10
        assert {EMOTIONS[utt] for utt in fold.valid} <= {EMOTIONS[utt] for utt in fold.train}


def test_parts_are_alike():
    parts = folds.divide(SPEAKERS, EMOTIONS, 10)
    for what in (dict.fromkeys(SPEAKERS, "all"), EMOTIONS):
        for value in set(what.values()):
            counts = [sum(what[utt] == value for utt in part) for part in parts]
            assert max(counts) - min(counts) <= 1, (value, counts)
    spread = [Counter(SPEAKERS[utt] for utt in part) for part in parts]
    assert all(0 <= counts[speaker] <= 4 for counts in spread for speaker in set(SPEAKERS.values()))


def test_no_speaker_is_in_two_parts():
    parts = folds.divide(SPEAKERS, EMOTIONS, 4, "speaker")
    owners = [{SPEAKERS[utt] for utt in part} for part in parts]
    assert sum(map(len, owners)) == 7 and set().union(*owners) == set(SPEAKERS.values())
    assert all({"angry", "calm", "sad"} <= {EMOTIONS[utt] for utt in part} for part in parts)


@pytest.mark.parametrize("by", folds.FOLD_BY)
def test_the_seed_decides(by):
    same = [folds.divide(SPEAKERS, EMOTIONS, 3, by, seed=seed) for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]
    assert folds.divide(dict(reversed(SPEAKERS.items())), EMOTIONS, 3, by) == same[0]


def test_without_emotions_and_with_emotions_rarer_than_parts():
    assert len(folds.divide(SPEAKERS, {}, 5, "speaker")) == 5
    assert len(folds.divide(SPEAKERS, {utt: utt for utt in SPEAKERS}, 5, "speaker")) == 5
    (fold, *_) = folds.make_folds(folds.divide(SPEAKERS, {}, 5), SPEAKERS, {})
    assert fold.valid and fold.train


def test_more_folds_than_there_is_to_divide():
    with pytest.raises(SecError, match="--folds 8 --fold_by speaker: there are only 7 speakers; lower --folds"):
        folds.divide(SPEAKERS, EMOTIONS, 8, "speaker")
    with pytest.raises(SecError, match="--folds 52: each tests|--folds 52: needs two recordings"):
        folds.divide(SPEAKERS, EMOTIONS, 52)
    alone = {"a": "x", "b": "y", "c": "y", "d": "y", "e": "y"}
    with pytest.raises(SecError, match="a part would have fewer than two recordings"):
        folds.divide(alone, {}, 2, "speaker")
    with pytest.raises(SecError, match="2 recordings"):
        folds.make_folds([["a", "b", "c"]], alone, {utt: utt for utt in alone})


def test_an_emotion_that_a_fold_cannot_learn_is_named():
    made = folds.make_folds(folds.divide(SPEAKERS, EMOTIONS, 4), SPEAKERS, EMOTIONS)
    (number,) = [at for at, fold in enumerate(made, 1) if "u050" in fold.test]
    (told,) = folds.lost_emotions(made, EMOTIONS)
    assert told.startswith(f"warning: the training set of fold {number} has no recording of emotion 'rare'")
    assert folds.lost_emotions(made, {}) == []


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(recipe, labels="utt2emo"):
    make_recipe(recipe, labels)
    return folds.read_pool("dump", None, ["train", "valid", "test"])


def test_emotions_of_all_sets_are_the_truth(recipe):
    pool = read(recipe)
    assert len(pool.labels) == 24 and pool.raw.utterances["utt2emo"] == pool.labels and not pool.notes


def test_emotions_that_are_no_truth_are_trained_with_and_not_scored_against(recipe):
    pool = read(recipe, "utt2emo_train")
    assert len(pool.labels) == 24 and not {"utt2emo", "utt2emo_train"} & pool.raw.utterances.keys()
    made = folds.make_folds(folds.divide(pool.speakers(), pool.labels, 3), pool.speakers(), pool.labels)
    folds.write_fold(recipe / "f/1", made[0], pool, "dump/raw", "../..")
    folds.write_references(recipe / "f/test", pool)
    raw = recipe / "f/1/dump/raw"
    assert read_kaldi(raw / "train/utt2emo").items() <= pool.labels.items()
    assert len(read_kaldi(raw / "train/utt2emo")) == 14 and not (raw / "test/utt2emo").exists()
    assert not list(recipe.glob("f/test/*emo*")) and len(read_captions(recipe / "f/test/captions")) == 24


def test_a_set_without_emotions(recipe):
    pool = read(recipe, "utt2mood")
    assert not pool.labels and "utt2emo" not in pool.raw.utterances
    (told,) = [note for note in pool.notes if "emotions" in note]
    assert "since dump/raw/test has none" in told and "utt2emo_train" in told


def test_ids_that_are_in_two_sets(recipe):
    make_recipe(recipe)
    with pytest.raises(SecError, match="ids are in an earlier directory too"):
        folds.read_pool("dump", None, ["train", "train"])


def test_features_of_other_recordings(recipe):
    make_recipe(recipe)
    for name in ("train", "valid"):
        (recipe / "dump/x" / name).mkdir(parents=True)
        (recipe / "dump/x" / name / "feats.scp").write_text(f"{name} a.ark:3\n")
    with pytest.raises(SecError, match="dump/x: has not the recordings of dump/raw .*; run stage 3 again"):
        folds.read_pool("dump", "dump/x", ["train", "valid"])


def make_feats(folder, dset, ids, front_end):
    """dump/x of a set, as stage 3 leaves it."""
    (folder / dset).mkdir(parents=True, exist_ok=True)
    write_kaldi(
        folder / dset / "feats.scp", {utt: f"dump/x/{dset}/data/feats.1.ark:{at}" for at, utt in enumerate(ids)}
    )
    (folder / dset / "config.json").write_text(front_end)


def test_features_of_sets_of_any_name_keep_their_front_end(recipe):
    make_recipe(recipe)
    (recipe / "dump/raw/train").rename(recipe / "dump/raw/train_960")
    sets = ["train_960", "valid", "test"]
    for name in sets:
        make_feats(recipe / "dump/x", name, read_kaldi(f"dump/raw/{name}/wav.scp"), '{"encoder": "acoustic"}')
    pool = folds.read_pool("dump", "dump/x", sets)
    (fold, *_) = folds.make_folds(folds.divide(pool.speakers(), pool.labels, 3), pool.speakers(), pool.labels)
    folds.write_fold(recipe / "f/1", fold, pool, "dump/x", "../..")
    for name in folds.SETS:
        assert list(read_kaldi(recipe / f"f/1/dump/x/{name}/feats.scp")) == getattr(fold, name)
        assert (recipe / f"f/1/dump/x/{name}/config.json").read_text() == '{"encoder": "acoustic"}'
    (recipe / "dump/x/valid/config.json").write_text('{"encoder": "opensmile"}')
    with pytest.raises(SecError, match="dump/x/valid/config.json.*are not the same, .*; run stage 3 again"):
        folds.read_pool("dump", "dump/x", sets)


def test_the_lists_of_a_fold_lead_to_the_recipes_files(recipe):
    pool = read(recipe)
    wavs = {
        utt: path for name in ("train", "valid", "test") for utt, path in read_kaldi(f"dump/raw/{name}/wav.scp").items()
    }
    (fold, *_) = folds.make_folds(folds.divide(pool.speakers(), pool.labels, 3), pool.speakers(), pool.labels)
    pool.raw.utterances["wav.scp"][fold.test[0]] = "/elsewhere/a.wav"
    folds.write_fold(recipe / "f/1", fold, pool, "dump/raw", "../..")
    for name in folds.SETS:
        assert validate_data_dir(recipe / f"f/1/dump/raw/{name}", ["captions", "utt2emo"]) == []
        scp = read_kaldi(recipe / f"f/1/dump/raw/{name}/wav.scp")
        assert list(scp) == getattr(fold, name)
        outside = "/elsewhere/a.wav"
        assert all(path == f"../../{wavs[utt]}" or path == outside for utt, path in scp.items())
        assert (outside in scp.values()) == (name == "test")


@pytest.mark.parametrize("labels", ["utt2emo", "utt2emo_train"])
def test_copies_are_trained_on_where_their_originals_are(recipe, labels):
    make_recipe(recipe, labels)
    for name in ("train", "valid", "test"):
        wavs = read_kaldi(f"dump/raw/{name}/wav.scp")
        make_copies(recipe / "dump/raw", name, labels if name == "test" else "utt2emo")
        make_feats(recipe / "dump/x", f"{name}_sp0.9", sorted([*wavs, *(f"sp0.9-{utt}" for utt in wavs)]), "{}")
    pool = folds.read_pool("dump", "dump/x", ["train", "valid", "test"], "_sp0.9")
    assert len(pool.raw.ids()) == len(pool.labels) == 24 and len(pool.feats.ids()) == 48
    (fold, *_) = folds.make_folds(folds.divide(pool.speakers(), pool.labels, 3), pool.speakers(), pool.labels)
    folds.write_fold(recipe / "f/1", fold, pool, "dump/x", "../..", "_sp0.9")
    trained = sorted([*fold.train, *(f"sp0.9-{utt}" for utt in fold.train)])
    copied = recipe / "f/1/dump/raw/train_sp0.9"
    assert validate_data_dir(copied, ["captions", "utt2emo"]) == []
    assert (
        list(read_kaldi(copied / "wav.scp")) == trained == list(read_kaldi(recipe / "f/1/dump/x/train_sp0.9/feats.scp"))
    )
    emotions = read_kaldi(copied / "utt2emo")
    assert all(emotions[f"sp0.9-{utt}"] == emotions[utt] == pool.labels[utt] for utt in fold.train)
    for name in folds.SETS:
        for kind in ("raw/{}/captions", "x/{}/feats.scp"):
            assert list(read_kaldi(recipe / "f/1/dump" / kind.format(name))) == getattr(fold, name)


def test_copies_of_other_recordings(recipe):
    make_recipe(recipe)
    for name in ("train", "valid"):
        make_copies(recipe / "dump/raw", name)
    make_copies(recipe / "dump/raw", "test", leave_out=1)
    with pytest.raises(SecError, match="dump/raw: copies are not of the recordings .*; run stage 2 again"):
        folds.read_pool("dump", None, ["train", "valid", "test"], "_sp0.9")


def make_copies(raw, dset, labels="utt2emo", leave_out=0):
    """dump/raw/<set>_sp0.9, as sec_perturb_audio writes it, but for the audio."""
    data = read_data_dir(raw / dset)
    data = data.subset(data.ids()[leave_out:])
    copy = data.renamed(*["sp0.9-{}".format] * 2)
    tables = {name: table | copy.utterances[name] for name, table in data.utterances.items()}
    origin = {utt: utt.removeprefix("sp0.9-") for utt in tables["wav.scp"]}
    assert labels in tables
    DataDir(tables | {"utt2uniq": origin}, {}, {}, data.inverse).write(raw / f"{dset}_sp0.9")


@pytest.fixture
def divided(recipe):
    pool = read(recipe)
    made = folds.make_folds(folds.divide(pool.speakers(), pool.labels, 3), pool.speakers(), pool.labels)
    for number, fold in enumerate(made, 1):
        folds.write_fold(recipe / f"f/{number}", fold, pool, "dump/raw", "../../..")
    return recipe / "f"


def test_captions_of_all_folds_are_joined(divided):
    decode(divided, 3)
    decode(divided, 3, "random_caption")
    made, warned = folds.pool_captions(divided, SYSTEM)
    assert made == [divided / "exp/random_caption/test", divided / f"exp/{SYSTEM}/test"] and not warned
    joined = read_captions(divided / f"exp/{SYSTEM}/test/captions")
    for number, ids in enumerate(folds.tested(divided), 1):
        assert all(joined.pop(utt) == [f"fold {number}, a voice"] for utt in ids)
    assert not joined
    candidates = read_caption_file(divided / f"exp/{SYSTEM}/test/candidates.jsonl", system=True)
    assert candidates == read_captions(divided / f"exp/{SYSTEM}/test/captions")


def test_what_some_folds_lack(divided):
    decode(divided, 3)
    decode(divided, 2, "older/decode")
    captions = divided / "2/exp" / SYSTEM / "test/captions"
    made, warned = folds.pool_captions(divided, SYSTEM)
    assert made == [divided / f"exp/{SYSTEM}/test"]
    (told,) = warned
    assert told.startswith("warning: ") and "fold 3 has no captions of older/decode" in told
    captions.write_text(captions.read_text().split("\n", 1)[1])
    with pytest.raises(SecError, match=f"fold 2 has no captions of {SYSTEM} for the recordings .*run stage 7 first"):
        folds.pool_captions(divided, SYSTEM)


def test_a_folder_without_folds(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "3").mkdir()
    for folder in (tmp_path, tmp_path / "1"):
        with pytest.raises(SecError, match="does not hold folds 1, 2"):
            folds.tested(folder)

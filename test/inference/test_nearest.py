import json
import math

import kaldiio
import numpy as np
import pytest
import soundfile as sf
from sounds import tone

from espnet2_secap.bin import sec_nearest
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.inference.agreement import Agreement
from espnet2_secap.inference.nearest import Neighbours, describe, frames_of, nearest_captions, trained_encoder
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.dice import ngrams, similarity
from espnet2_secap.metric.words import Categories

ANGRY, ANGRIER, SAD = "语气愤怒", "语气很愤怒", "情绪悲伤"


def vectors(*rows) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_mean_and_deviation_over_the_frames_by_hand():
    frames = [np.float32([[1, 5], [3, 5]]), np.float32([[2, 0.1]] * 7)]
    # 1 and 3 have mean 2 and deviation 1; what is constant has deviation 0, exactly
    expected = [[2, 5, 1, 0], [2, np.float32(0.1), 0, 0]]
    assert describe(iter(frames), ["a", "b"], "dump").tolist() == expected


def test_what_is_constant_over_the_training_set_counts_for_nothing():
    near = Neighbours({"a": ["x"], "b": ["y", "z"]}, ["a", "b"], vectors([1, 7, 0.1], [3, 7, 0.1]))
    # The first value has mean 2 and deviation 1: -1, 1 and 2, all of length 1 then; the others never vary.
    (weights,) = near.weights(vectors([4, 9, 0.1]))
    b = 1 / (1 + math.exp(-20))  # cosines -1 and 1
    assert near.texts == ["x", "y", "z"] and weights == pytest.approx([1 - b, b / 2, b / 2])
    (weights,) = near.weights(vectors([4, 9, 0.1]), ["b"])
    assert weights.tolist() == [1, 0, 0]


def test_one_training_utterance_is_the_nearest_of_all():
    found = nearest_captions({"t": [SAD]}, (["t"], vectors([1, 2])), (["u"], vectors([5, 6])))
    assert found == {"u": [SAD]}


def test_weights_and_consensus_by_hand():
    """Two training utterances are near and agree by half, one is the opposite of them."""
    captions = {"a": [ANGRY], "b": [ANGRIER], "c": [SAD, SAD]}
    train = vectors([1, 0], [0, 1], [-1, -1])
    # The test vector is that of `a`. Standardised: each value of 1, 0, -1 divided by sqrt(2/3).
    rows = np.array([[1, 0], [0, 1], [-1, -1]]) / math.sqrt(2 / 3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit[0]
    assert cosines == pytest.approx([1, 0, -math.sqrt(0.5)])
    weights = np.exp(cosines / 0.1)
    assert weights[0] / weights.sum() == pytest.approx(1 / (1 + math.exp(-10) + math.exp(-10 - 10 * math.sqrt(0.5))))
    assert nearest_captions(captions, (list("abc"), train), (["u"], vectors([1, 0]))) == {"u": [ANGRY]}
    # From the middle of a and b, both have the same weight, and each is as like itself as the other is: the first.
    assert nearest_captions(captions, (list("abc"), train), (["u"], vectors([1, 1]))) == {"u": [ANGRY]}
    assert nearest_captions(captions, (list("abc"), train), (["u"], vectors([-1, -1]))) == {"u": [SAD]}


def test_two_that_are_alike_beat_the_nearest_one():
    """Weights 0.4, 0.3 and 0.3 of three utterances: what the two of 0.3 share is worth more than the nearest alone."""
    x = 1 + 0.1 * math.log(0.3 / 0.4)  # the cosine whose weight is 3/4 of that of cosine 1
    y = math.sqrt(1 - x**2)
    far = -1 - 2 * x  # the mean of both values is 0 then,
    up = math.sqrt((1 + 2 * x**2 + far**2 - 2 * y**2) / 2)  # and their deviations are equal: no angle changes
    train = vectors([1, 0], [x, y], [x, -y], [far, 0], [0, up], [0, -up])
    captions = {"a": [SAD], "b": [ANGRY], "c": [ANGRIER], "d": ["x"], "e": ["x"], "f": ["x"]}
    # 语气愤怒 has 10 n-grams, 语气很愤怒 14, of them 6 in common: 12/24. 语气愤怒 has 0.3 + 0.3/2 > 0.4
    sets = (list("abcdef"), train), (["u"], vectors([1, 0]))
    assert similarity(ngrams(ANGRY), ngrams(ANGRIER)) == 0.5
    assert nearest_captions(captions, *sets) == {"u": [ANGRY]}
    assert nearest_captions(captions, *sets, neighbours=1) == {"u": [SAD]}
    captions["c"] = ["天"]  # like neither
    assert nearest_captions(captions, *sets) == {"u": [SAD]}


def test_what_captions_name_may_decide():
    """Three equally near: two share no character, but the emotion; the third one shares some with the first."""
    captions = {"a": ["语气平和"], "b": ["怒"], "c": ["语气愤慨"], "d": ["天"]}
    sets = (list("abcd"), vectors([1, 1], [1, 1], [1, 1], [0, 0])), (["u"], vectors([1, 1]))
    assert nearest_captions(captions, *sets, neighbours=3) == {"u": ["语气平和"]}
    agreement = Agreement(1.0, (Categories({"angry": ["怒", "愤慨"]}),))
    assert nearest_captions(captions, *sets, neighbours=3, agreement=agreement) == {"u": ["语气愤慨"]}


def test_captions_of_an_utterance_share_its_weight():
    """Both utterances are equally near: one caption of the first weighs as much as two of the second together."""
    captions = {"a": ["甲乙丙"], "b": ["丁戊己", "庚辛壬"]}
    train = vectors([1, 1], [1, 1], [0, 0])
    ids = ["b", "a", "c"]
    captions["c"] = ["天"]
    assert nearest_captions(captions, (ids, train), (["u"], vectors([1, 1])), neighbours=2) == {"u": ["甲乙丙"]}


def test_an_utterance_is_not_its_own_neighbour():
    captions = {"a": [ANGRY], "b": [SAD], "c": ["平静"]}
    sets = (["a", "b", "c"], vectors([1, 0], [0.9, 0.1], [-1, 0.5]))
    assert nearest_captions(captions, sets, sets, neighbours=1, same_set=True)["a"] == [SAD]
    assert nearest_captions(captions, sets, sets, neighbours=1)["a"] == [ANGRY]
    with pytest.raises(SecError, match="the only training utterance is the test utterance itself"):
        nearest_captions(captions, (["a"], sets[1][:1]), (["a"], sets[1][:1]), same_set=True)


@pytest.mark.parametrize(
    "frames, message",
    [
        ([np.ones((2, 3)), np.ones((2, 4))], "dump: b: has 4 values per frame, a has 3"),
        ([np.ones((2, 3)), np.ones((0, 3))], "dump: b: has no frames"),
        ([np.ones((2, 3)), np.full((2, 3), np.nan)], "dump: b: its features hold NaN"),
    ],
)
def test_features_that_do_not_fit_are_named(frames, message):
    with pytest.raises(SecError, match=message):
        describe(iter(frames), ["a", "b"], "dump")


def make_set(folder, feats: dict, captions: dict):
    folder.mkdir()
    kaldiio.save_ark(str(folder / "f.ark"), feats, scp=str(folder / "feats.scp"))
    (folder / "utt2num_frames").write_text("".join(f"{utt} {len(one)}\n" for utt, one in feats.items()))
    lines = [f"{utt} {json.dumps(one, ensure_ascii=False)}\n" for utt, one in captions.items()]
    (folder / "captions").write_text("".join(lines), encoding="utf-8")
    return folder


def run(train, test, output, *options, captions=None):
    files = ["--train_dir", str(train), "--train_captions", str(captions or train / "captions")]
    sec_nearest.main([*files, "--data_dir", str(test), "--output", str(output), *options])
    return read_caption_file(output / "captions", system=True)


@pytest.fixture
def corpus(tmp_path):
    """Loud and soft utterances with captions that say so; t4 has no caption."""
    rng = np.random.default_rng(0)
    level = {"t0": 9, "t1": 8, "t2": 1, "t3": 2, "t4": 9}
    train = {utt: (n + rng.standard_normal((5, 3))).astype(np.float32) for utt, n in level.items()}
    captions = {"t0": ["声音洪亮"], "t1": ["声音很洪亮"], "t2": ["声音低沉"], "t3": ["声音很低沉"]}
    test = {utt: (n + rng.standard_normal((4, 3))).astype(np.float32) for utt, n in {"u0": 8.5, "u1": 1.5}.items()}
    make_set(tmp_path / "train", train, captions)
    return make_set(tmp_path / "test", test, {"u0": ["x"], "u1": ["x"]}).parent


@pytest.mark.parametrize("neighbours", ["0", "1", "3"])
def test_stored_features(corpus, neighbours):
    found = run(corpus / "train", corpus / "test", corpus / "out", "--neighbours", neighbours)
    assert {utt: caption[0][-2:] for utt, caption in found.items()} == {"u0": "洪亮", "u1": "低沉"}


def test_chosen_as_a_decoding_did(corpus, capsys):
    """A decoding that counts the volume named, and hardly anything else."""
    lines = {"t0": "很低", "t1": "声音很尖", "t2": "低沉", "t3": "声音尖细"}
    own = corpus / "captions"
    own.write_text("".join(f'{utt} ["{one}"]\n' for utt, one in lines.items()), encoding="utf-8")
    words, weight = corpus / "words.json", 900
    words.write_text(json.dumps({"volume": {"low": ["低"]}}), encoding="utf-8")
    header = {"agreement": weight, "agreement_attributes": "volume", "words": str(words)}
    (corpus / "candidates.jsonl").write_text(json.dumps({"header": header, "id": "u"}) + "\n")
    sets = corpus / "train", corpus / "test"
    given = [word for name, value in header.items() for word in (f"--{name}", str(value))]
    liked = run(*sets, corpus / "a", "--like", str(corpus), "--neighbours", "4", captions=own)
    assert liked == run(*sets, corpus / "b", *given, "--neighbours", "4", captions=own)
    assert all("低" in caption[0] for caption in liked.values())
    with pytest.raises(SystemExit):
        run(*sets, corpus / "c", "--like", str(corpus), "--agreement", "1", captions=own)
    assert "--like: is given together with --agreement" in capsys.readouterr().err


def test_bad_input_is_one_line(corpus, capsys):
    wide = make_set(corpus / "wide", {"w": np.ones((3, 5), np.float32)}, {"w": ["x"]})
    (corpus / "others").write_text('x ["高兴"]\n', encoding="utf-8")
    (corpus / "empty").mkdir()
    cases = (
        ((wide, corpus / "test"), {}, "the test set has 3 values per frame, the training set 5"),
        ((corpus / "train", corpus / "test"), {"captions": corpus / "others"}, "has no captions of the utterances of"),
        ((corpus / "empty", corpus / "test"), {}, "feats.scp: does not exist; run stage 3"),
        ((wide, wide), {}, "the only training utterance is the test utterance itself"),
    )
    for folders, more, message in cases:
        if folders[0].name == "empty":
            more = {"captions": corpus / "train" / "captions"}
        with pytest.raises(SystemExit):
            run(*folders, corpus / "out", **more)
        said = capsys.readouterr().err.splitlines()
        assert [message in line for line in said if "error: " in line] == [True], said
        assert not (corpus / "out" / "captions").exists()


@pytest.mark.needs("espnet")
@pytest.mark.slow(20)
def test_of_audio_the_models_encoder_makes_the_features(tmp_path, tiny_llama):
    from tiny_experiment import make_experiment

    experiment = make_experiment(tmp_path / "exp", tiny_llama)
    folder = tmp_path / "raw"
    folder.mkdir()
    pitch = {"a": 200, "b": 200, "c": 2000, "d": 2000}
    for number, (utt, hz) in enumerate(pitch.items()):
        sf.write(folder / f"{utt}.wav", tone(0.4 + number / 10, hz=hz), 16000)
    (folder / "wav.scp").write_text("".join(f"{utt} {folder}/{utt}.wav\n" for utt in pitch))
    samples = {utt: round(16000 * (0.4 + number / 10)) for number, utt in enumerate(pitch)}
    (folder / "utt2num_samples").write_text("".join(f"{utt} {n}\n" for utt, n in samples.items()))
    captions = {"a": "声音低沉", "b": "声音很低沉", "c": "声音尖利", "d": "声音很尖利"}
    (folder / "captions").write_text("".join(f'{utt} ["{one}"]\n' for utt, one in captions.items()), encoding="utf-8")
    model = ["--sec_model_file", str(experiment / "valid.loss.best.pth"), "--batch_size", "3"]
    found = run(folder, folder, tmp_path / "out", *model, "--neighbours", "1")
    assert found == {"a": ["声音很低沉"], "b": ["声音低沉"], "c": ["声音很尖利"], "d": ["声音尖利"]}
    encoder = trained_encoder(experiment, "cpu")
    utterances = Utterances(folder)
    alone = [one for utt in "abcd" for one in frames_of(utterances, [utt], encoder, 1, "cpu")]
    for one, other in zip(alone, frames_of(utterances, list("abcd"), encoder, 3, "cpu"), strict=True):
        assert one == pytest.approx(other, abs=1e-4)

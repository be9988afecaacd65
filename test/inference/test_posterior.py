import json
import math
import shutil

import numpy as np
import pytest
import torch
import yaml
from tiny_decoding import decode

from espnet2_secap.data.utterances import Utterances
from espnet2_secap.decoder.options import SetOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference import posterior
from espnet2_secap.inference.posterior import CandidateSet, candidates_file, log_probs_of, probabilities, utterances_of
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.metric.dice import ngrams, similarity
from espnet2_secap.model.condition import ids_segment

TRAIN = {
    "t0": ["语速较快，声音高亢"],
    "t1": ["语速较慢，声音低沉", "情绪悲伤"],
    "t2": ["语速较快，声音高亢"],
    "t3": ["情绪中带着愤怒，声音高亢"],
    "t4": ["平静"],
}
TEXTS = ["语速较快，声音高亢", "语速较慢，声音低沉", "情绪悲伤", "情绪中带着愤怒，声音高亢", "平静"]  # each once


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train_captions"
    lines = [f"{utt} {json.dumps(texts, ensure_ascii=False)}\n" for utt, texts in TRAIN.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def speech2caption(model_file):
    return Speech2Caption(model_file)


def expected_log_probs(speech2caption, feats, utt) -> list[float]:
    """By teacher forcing, as in training: one caption at a time, without any batch."""
    model, found = speech2caption.model, []
    speech = torch.from_numpy(Utterances(feats).read(utt))[None]
    instruction = speech2caption.instruction
    batch = dict(speech=speech, speech_lengths=torch.tensor([speech.size(1)]), instruction=instruction)
    batch["instruction_lengths"] = torch.tensor([instruction.size(1)])
    for text in TEXTS:
        ids = torch.tensor([[*model.decoder.tokenizer.encode(text), model.template.end]])
        caption = ids_segment(ids, torch.tensor([ids.size(1)]))
        with torch.no_grad():
            found.append(model.decoder.log_probs(model.segments(**batch), caption).sum().item())
    return found


def likeness(weights, texts=TEXTS) -> list[float]:
    """The expected similarity of each text to the set, in plain sums."""
    return [
        sum(w * similarity(ngrams(text), ngrams(other)) for w, other in zip(weights, TEXTS, strict=True))
        for text in texts
    ]


def softmax(values) -> list[float]:
    total = sum(math.exp(value - max(values)) for value in values)
    return [math.exp(value - max(values)) / total for value in values]


def test_probabilities_by_hand():
    log_probs, ids = np.log([0.3, 0.1]), [[1, 2], [1]]
    assert probabilities(log_probs, ids, SetOptions()) == pytest.approx([0.75, 0.25])
    # divided by 2: square roots, 0.5477 and 0.3162
    halved = SetOptions(posterior_temperature=2.0)
    assert probabilities(log_probs, ids, halved) == pytest.approx([0.63397, 0.36603], abs=1e-5)
    # per token: 0.3 ** (1 / 2) = 0.5477 and 0.1
    per_token = SetOptions(posterior_per_token=True)
    assert probabilities(log_probs, ids, per_token) == pytest.approx([0.84562, 0.15438], abs=1e-5)
    assert probabilities(np.array([-5000.0, -5000.0]), ids, SetOptions()).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("tokens", [1, 20, 8192])
def test_log_probabilities_are_those_of_teacher_forcing_in_any_batching(
    speech2caption, feats, train, monkeypatch, tokens
):
    monkeypatch.setattr(posterior, "TOKENS", tokens)
    utterances = Utterances(feats)
    own = CandidateSet(train, speech2caption)
    assert own.texts == TEXTS
    segments = speech2caption.segments([utterances.read(utt) for utt in ("u0", "u5")])
    for utt, one in zip(("u0", "u5"), utterances_of(segments), strict=True):
        found = log_probs_of(speech2caption.model.decoder, one, own.ids)
        assert found == pytest.approx(expected_log_probs(speech2caption, feats, utt), rel=1e-4)


SET = ["--keep", "1", "--candidates"]


@pytest.mark.parametrize("temperature, batch_size", [("1", "7"), ("20", "2")])
def test_what_is_kept_has_the_highest_expected_similarity(
    model_file, speech2caption, feats, train, tmp_path, temperature, batch_size
):
    options = [*SET, str(train), "--posterior_temperature", temperature, "--batch_size", batch_size]
    rows = decode(model_file, feats, tmp_path / "o", *options)
    captions = dict(line.split(" ", 1) for line in (tmp_path / "o" / "captions").read_text().splitlines())
    for row in rows:
        log_probs = expected_log_probs(speech2caption, feats, row["id"])
        weights = softmax([value / float(temperature) for value in log_probs])
        expected = dict(zip(TEXTS, zip(log_probs, weights, likeness(weights), strict=True), strict=True))
        for one in row["candidates"]:
            values = [one[name] for name in ("score", "probability", "similarity")]
            assert values == pytest.approx(expected[one["text"]], rel=1e-3, abs=1e-5)
        gains = [one["similarity"] for one in row["candidates"]]
        assert gains == sorted(gains, reverse=True) and row["kept"] == 1
        assert gains[0] == pytest.approx(max(one[2] for one in expected.values()), abs=1e-5)
        assert json.loads(captions[row["id"]]) == [row["candidates"][0]["text"]]
    assert temperature == "1" or all(len(row["candidates"]) == len(TEXTS) for row in rows)


def test_nothing_hangs_on_the_seed(model_file, feats, train, tmp_path):
    found = []
    for seed in ("0", "1", "2"):
        decode(model_file, feats, tmp_path / seed, *SET, str(train), "--seed", seed)
        found.append((tmp_path / seed / "captions").read_bytes())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("source", ["generated", "all"])
def test_hypotheses_may_be_the_models_beams(model_file, speech2caption, feats, train, tmp_path, source):
    plain = decode(model_file, feats, tmp_path / "b", "--beam_size", "3", "--num_candidates", "3")
    options = ["--candidates", str(train), "--beams", "3", "--choose_from", source, "--keep", "2"]
    rows = decode(model_file, feats, tmp_path / "o", *options, "--posterior_temperature", "20")
    for row, beams in zip(rows, plain, strict=True):
        own = {one["text"] for one in beams["candidates"]}
        assert {one["text"] for one in row["candidates"]} == own | (set(TEXTS) if source == "all" else set())
        weights = softmax([value / 20 for value in expected_log_probs(speech2caption, feats, row["id"])])
        for one in row["candidates"]:
            assert one["similarity"] == pytest.approx(likeness(weights, [one["text"]])[0], abs=1e-5)
        assert row["kept"] == 2


@pytest.mark.parametrize("source", ["generated", "all"])
def test_hypotheses_may_be_samples_and_beams(model_file, speech2caption, feats, train, tmp_path, source):
    """They are those of sampling alone; what they are compared with are the captions of the set."""
    sampled = ["--sampling", "true", "--num_candidates", "4", "--beams", "2", "--batch_size", "3"]
    plain = decode(model_file, feats, tmp_path / "plain", *sampled, "--keep", "1")
    options = ["--candidates", str(train), "--choose_from", source, "--keep", "1", "--posterior_temperature", "20"]
    rows = decode(model_file, feats, tmp_path / "o", *sampled, *options)
    for row, other in zip(rows, plain, strict=True):
        generated = {one["text"] for one in other["candidates"]}
        assert {one["text"] for one in row["candidates"]} == generated | (set(TEXTS) if source == "all" else set())
        weights = softmax([value / 20 for value in expected_log_probs(speech2caption, feats, row["id"])])
        for one in row["candidates"]:
            assert one["similarity"] == pytest.approx(likeness(weights, [one["text"]])[0], abs=1e-5)
            assert ("probability" in one) == (source == "all" and one["text"] in TEXTS)


def test_weights_with_a_prior_by_hand(speech2caption, train):
    own = CandidateSet(train, speech2caption)
    assert own.counts.tolist() == [2, 1, 1, 1, 1]
    log_probs = np.log([0.2, 0.01, 0.04, 0.3, 0.2])
    assert own.weights(log_probs, SetOptions()) == pytest.approx(
        [0.2 / 0.75, 0.01 / 0.75, 0.04 / 0.75, 0.4, 0.2 / 0.75]
    )
    own.log_prior = np.log([0.2, 0.04, 0.01, 0.3, 0.05])
    # the ratios 1, 1/4, 4, 1, 4, the first one twice: their sum is 11.25
    assert own.weights(log_probs, SetOptions()) == pytest.approx(np.array([2, 0.25, 4, 1, 4]) / 11.25)
    # at temperature 2 their square roots, 1, 1/2, 2, 1, 2, the first one twice: 7.5
    expected = np.array([2, 0.5, 2, 1, 2]) / 7.5
    assert own.weights(log_probs, SetOptions(posterior_temperature=2)) == pytest.approx(expected)


def test_samples_and_beams_weighted_by_probability(model_file, speech2caption, feats, tmp_path):
    options = ["--sampling", "true", "--num_candidates", "4", "--beams", "2", "--keep", "1", "--batch_size", "7"]
    equal = decode(model_file, feats, tmp_path / "equal", *options)
    rows = decode(model_file, feats, tmp_path / "p", *options, "--weights", "probability")
    for one, row in zip(equal, rows, strict=True):
        assert len(one["candidates"]) == 6
        assert {c["text"] for c in row["candidates"]} <= {c["text"] for c in one["candidates"]}
        texts = [c["text"] for c in row["candidates"]]
        weights = [c["probability"] for c in row["candidates"]]
        assert len(set(texts)) == len(texts) and sum(weights) == pytest.approx(1, abs=1e-3)
        for c in row["candidates"]:
            grams = ngrams(c["text"])
            expected = sum(w * similarity(grams, ngrams(other)) for w, other in zip(weights, texts, strict=True))
            assert c["similarity"] == pytest.approx(expected, abs=1e-3)
        assert row["candidates"][0]["similarity"] == max(c["similarity"] for c in row["candidates"])


def test_training_stands_for_the_captions_that_the_model_was_trained_on(model_file, feats, train, tmp_path, capsys):
    folder = tmp_path / "exp"
    shutil.copytree(model_file.parent, folder)
    model = folder / model_file.name
    with pytest.raises(SystemExit):
        decode(model, feats, tmp_path / "o", *SET, "training")
    assert "names no captions of the training; give their file" in capsys.readouterr().err
    conf = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    conf["train_data_path_and_name_and_type"] = [["feats.scp", "speech", "kaldi_ark"], [str(train), "caption", "text"]]
    (folder / "config.yaml").write_text(yaml.safe_dump(conf), encoding="utf-8")
    named = decode(model, feats, tmp_path / "o", *SET, "training")
    given = decode(model, feats, tmp_path / "p", *SET, str(train))
    assert [row["candidates"] for row in named] == [row["candidates"] for row in given]
    assert named[0]["header"]["candidates"] == "training" and named[0]["header"]["posterior_temperature"] == 1.0
    train.unlink()
    with pytest.raises(SecError, match="no such file; it is the training's"):
        candidates_file("training", folder / "config.yaml")


def test_bad_files_are_one_line(model_file, feats, train, tmp_path, capsys):
    (tmp_path / "broken").write_text("t0 高兴\n", encoding="utf-8")
    for name, message in (
        ("missing", "--candidates missing: missing: no such file; check the path"),
        (str(tmp_path / "broken"), "broken:1: t0: is not JSON"),
    ):
        with pytest.raises(SystemExit):
            decode(model_file, feats, tmp_path / "o", *SET, name)
        said = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(said) == 1 and message in said[0], said
        assert not (tmp_path / "o" / "captions").exists()


def test_other_captions_are_decoded_again(model_file, feats, train, tmp_path, capsys):
    from espnet2_secap.bin import sec_inference

    files = ["--sec_model_file", str(model_file), "--data_dir", str(feats), "--output_dir", str(tmp_path / "o")]
    command = [*files, "--nj", "1", "--job", "1", *SET, str(train)]
    for there in (0, 1):
        sec_inference.main(command)
        assert f"1 batches of up to 16 utterances, {there} of them there already" in capsys.readouterr().err
    train.write_text(train.read_text(encoding="utf-8").replace("悲伤", "平和"), encoding="utf-8")
    sec_inference.main(command)
    assert "1 batches of up to 16 utterances, 0 of them there already" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["set", "beams", "equal", "probability"])
def test_agreement_counts_in_every_consensus(model_file, feats, train, tmp_path, way):
    """By their lengths, texts are of two categories: what is added is twice the weight of a text's own category."""
    ways = {
        "set": ["--candidates", str(train)],
        "beams": ["--candidates", str(train), "--beams", "3", "--choose_from", "all"],
        "equal": ["--sampling", "true", "--num_candidates", "4"],
        "probability": ["--sampling", "true", "--num_candidates", "4", "--weights", "probability"],
    }
    options = [*ways[way], "--keep", "1", "--posterior_temperature", "20"]
    plain = decode(model_file, feats, tmp_path / "plain", *options)
    texts = sorted({one["text"] for row in plain for one in row["candidates"] if one["text"]})
    words = {"length": {str(odd): [text for text in texts if len(text) % 2 == odd] for odd in (0, 1)}}
    (tmp_path / "words.json").write_text(json.dumps(words), encoding="utf-8")
    options += ["--agreement_attributes", "length", "--words", str(tmp_path / "words.json")]
    off = decode(model_file, feats, tmp_path / "off", *options)
    assert [row["candidates"] for row in off] == [row["candidates"] for row in plain]
    rows = decode(model_file, feats, tmp_path / "on", *options, "--agreement", "2")
    assert rows[0]["header"]["agreement"] == 2
    for row, other in zip(rows, plain, strict=True):
        before = {one["text"]: one["similarity"] for one in other["candidates"]}
        assert {one["text"] for one in row["candidates"]} == set(before)
        weight = {0: 0.0, 1: 0.0}
        for one in row["candidates"]:
            weight[len(one["text"]) % 2] += 1 / 4 if way == "equal" else one.get("probability", 0)
        for one in row["candidates"]:
            added = 2 * weight[len(one["text"]) % 2] if one["text"] else 0
            assert one["similarity"] == pytest.approx(before[one["text"]] + added, abs=1e-4)
        best = [one["similarity"] for one in row["candidates"]]
        assert best == sorted(best, reverse=True)

import argparse
import json

import kaldiio
import numpy as np
import pytest
import torch

from espnet2_secap.inference.probe import fit_probe, probe_model
from espnet2_secap.tasks.sec import SECTask


def test_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = {f"u{i}": "sad" if i % 2 else "calm" for i in range(120)}
    told = {
        utt: np.array([1.0 if label == "sad" else -1.0, 0.0]) + 0.1 * rng.standard_normal(2)
        for utt, label in labels.items()
    }
    noise = {utt: rng.standard_normal(2) for utt in labels}
    split = [f"u{i}" for i in range(80)], [f"u{i}" for i in range(80, 120)]
    results = [fit_probe({u: x[u] for u in split[0]}, {u: x[u] for u in split[1]}, labels) for x in (told, noise)]
    assert results[0] == {"accuracy": 1.0, "chance": 0.5, "n": 40}
    assert results[1]["accuracy"] < 0.75
    unique = {utt: utt for utt in labels}
    assert fit_probe({u: told[u] for u in split[0]}, {u: told[u] for u in split[1]}, unique)["accuracy"] is None


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Makes train, valid and test with feats and labels that only the set's own table tells; ids 0 to n in each set or
    ids of their own."""

    def make(same):
        base = tmp_path / ("same" if same else "own")
        rng = np.random.default_rng(0)
        for dset, n in (("train", 40), ("valid", 20), ("test", 30)):
            folder, feats, labels = base / dset, {}, {}
            folder.mkdir(parents=True)
            for i in range(n):
                utt = f"{i:02d}" if same else f"{dset}_{i:02d}"
                labels[utt] = "ab"[rng.integers(2)]
                means = 4.0 * (labels[utt] == "a") + 0.1 * rng.standard_normal((5, 2))
                feats[utt] = means.astype(np.float32)
            kaldiio.save_ark(str(folder / "f.ark"), feats, scp=str(folder / "feats.scp"))
            (folder / "utt2num_frames").write_text("".join(f"{utt} 5\n" for utt in feats))
            (folder / "utt2emo").write_text("".join(f"{utt} {label}\n" for utt, label in labels.items()))
        return base

    class Means(torch.nn.Module):
        encoder = argparse.Namespace(sampling_rate=None)  # stored features

        def q_embedding(self, speech, lengths):
            return speech, torch.ones(speech.shape[:2], dtype=torch.bool)

    known = argparse.Namespace(front_end={})
    monkeypatch.setattr(SECTask, "build_model_from_file", classmethod(lambda *args, **kwargs: (Means(), known)))
    return make


def probe(base, tests, train="train"):
    dirs = [str(base / dset) for dset in (train, *tests)]
    args = argparse.Namespace(
        train_dir=dirs[0], test_dirs=dirs[1:], label_dirs=dirs, batch_size=8, device="cpu", output_name="probe.json"
    )
    result = probe_model(str(base / "model.pth"), args)
    assert json.loads((base / "probe.json").read_text()) == result
    return result


def test_sets_with_the_same_ids_keep_their_labels_and_utterances(corpus):
    """MELD: ids 0 to n in each set."""
    own, same = probe(corpus(False), ["valid", "test"]), probe(corpus(True), ["valid", "test"])
    assert own == {**same, "system": own["system"]} and own["emotion"]["n"] == 50 and own["emotion"]["accuracy"] == 1.0


def test_a_set_that_is_named_twice_is_tested_once_and_the_training_set_is_not(corpus, capsys):
    base = corpus(True)
    assert probe(base, ["valid", "valid", "test"])["emotion"]["n"] == 50
    found = probe(base, ["train", "test"])
    assert found["set"] == "test" and found["emotion"]["n"] == 30
    assert "the probes are fitted on" in capsys.readouterr().err
    nothing = probe(base, ["train"])
    assert nothing["emotion"] == {
        "accuracy": None,
        "chance": None,
        "n": 0,
        "reason": "no test set but the training set",
    }


def test_an_utterance_without_words_has_no_sentence(corpus):
    base = corpus(False)
    for dset in ("train", "test"):
        ids = [line.split()[0] for line in (base / dset / "utt2emo").read_text().splitlines()]
        (base / dset / "text").write_text("".join(f"{utt}{' hello' * (i % 2)}\n" for i, utt in enumerate(ids)))
    assert probe(base, ["test"])["sentence"]["accuracy"] is None  # "" is not a second sentence

"""mini_emospeech with sentences that fit or contradict the emotion: --emotional_sentences."""

import dataclasses
import hashlib
import json
from collections import Counter

from tiny_corpus import synthesize

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.validate import validate_data_dir

NEUTRAL = "55230acd687d1d09f07310ed564f6863d88f9b59312e18489c46d1db1449df19"


def test_the_default_corpus_is_the_neutral_one_of_before(full, corpus):
    """Voices, sentences and prosody, as drawn before there were emotional sentences."""
    later = ("kind", "language", "condition")
    drawn = [
        [getattr(one, f.name) for f in dataclasses.fields(one) if f.name not in later]
        for s in full.values()
        for one in s
    ]
    assert hashlib.sha256(json.dumps(drawn, ensure_ascii=False).encode()).hexdigest() == NEUTRAL
    as_before = {(one.kind, one.language, one.condition) for some in full.values() for one in some}
    assert as_before == {("neutral", "cmn", "clean")}
    assert not list(corpus.rglob("utt2kind"))


def test_kinds_and_their_sentences(local, full):
    plan = local("plan")
    fits = {name: plan.read_emotional(name) for name in ("train", "test")}
    every = [text for found in fits.values() for texts in found.values() for text in texts]
    assert len(set(every)) == len(every) and set(fits["train"]) == set(fits["test"]) == set(plan.EMOTIONS)
    for name, size in (("train", 1200), ("test", 200)):
        drawn = plan.draw_set(name, size, seed=0, emotional=0.5)
        assert drawn == plan.draw_set(name, size, seed=0, emotional=0.5)
        counts = Counter(one.kind for one in drawn)
        assert abs(counts["fitting"] - size // 2) <= 3 and abs(counts["neutral"] - counts["contradicting"]) <= 6
        heard = set()
        for one, neutral in zip(drawn, full[name], strict=True):
            texts = fits["train"][one.emotion] + fits["test"][one.emotion] * (name == "test")
            assert (one.sentence in texts) == (one.kind == "fitting")
            assert (one.sentence == neutral.sentence) == (one.kind == "neutral")
            # all but the sentence is that of the neutral corpus
            assert dataclasses.replace(one, sentence=neutral.sentence, kind="neutral") == neutral
            heard.add(one.sentence)
        unseen = {text for texts in fits["test"].values() for text in texts}
        assert bool(heard & unseen) == (name == "test")
        others = Counter(one.sentence in fits["train"]["sad"] for one in drawn if one.kind == "contradicting")
        assert others[True] and others[False]


def test_all_or_a_tenth(local):
    draw_set = local("plan").draw_set
    assert {one.kind for one in draw_set("train", 60, 0, 1.0)} == {"fitting"}
    assert Counter(one.kind for one in draw_set("train", 600, 0, 0.1)) == {
        "fitting": 60,
        "neutral": 270,
        "contradicting": 270,
    }


def test_the_data_directory_says_which(tmp_path):
    options = ("--n_train", "12", "--n_valid", "6", "--n_test", "6")
    done = synthesize(tmp_path, *options, "--emotional_sentences", "0.5")
    assert done.returncode == 0, done.stderr
    kinds = read_kaldi(tmp_path / "train" / "utt2kind")
    assert len(kinds) == 12 and Counter(kinds.values())["fitting"] == 6
    assert validate_data_dir(tmp_path / "train", require=["captions", "text", "utt2kind"]) == []
    assert synthesize(tmp_path, *options).returncode == 0
    assert not list(tmp_path.rglob("utt2kind"))  # the neutral corpus has none
    done = synthesize(tmp_path, "--emotional_sentences", "1.5")
    assert done.returncode == 1 and "--emotional_sentences 1.5: must be" in done.stderr and done.stderr.count("\n") == 1

"""Metrics at the edges: nothing said, nothing to compare with, one utterance, short or identical captions."""

import json
import math
import subprocess
import sys

import pytest
from tiny import make_bert

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context, Metric, MetricUnavailable
from espnet2_secap.metric.normalize import says_something
from espnet2_secap.metric.registry import METRICS, find_metric
from espnet2_secap.metric.score import Pairs, read_pairs, score_metrics
from espnet2_secap.metric.segment import SEGMENTERS, segmenter
from espnet2_secap.metric.words import load_words

REFERENCES = {
    "a": ["an angry voice that speaks fast", "he is angry"],
    "b": ["a sad and slow voice"],
    "c": ["a calm voice, rather loud", "..."],
}
BLEUS = [f"bleu_{order}" for order in range(1, 5)]
ATTRIBUTES = [f"{attribute}_recall" for attribute in ("emotion", "rate", "volume")]
LIGHT = [*BLEUS, "rouge_l", "cider", "distinct_1", "distinct_2", "different_captions", "vocabulary", *ATTRIBUTES]
LIGHT += ["emotion_wa", "emotion_similarity"]
WITH_MODELS = ["sim1", "sim2", "bertscore", "sbert_sim"]
OPTION = {"sbert_sim": "sbert"}
SILENCE = ["", " \t", "\u3000", "...", "。，！", "\u200b", "“”", "-"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return dict.fromkeys(
        [OPTION.get(name, name) for name in WITH_MODELS], str(make_bert(tmp_path_factory.mktemp("edges") / "bert"))
    )


def scored(tmp_path, hypotheses, names, references=REFERENCES, segment="char_word", models=None):
    """Results of the metrics by the way that sec_score goes."""
    (tmp_path / "ref").write_text(json.dumps(references))
    (tmp_path / "hyp").write_text(json.dumps(hypotheses))
    pairs = read_pairs(tmp_path / "ref", tmp_path / "hyp")
    context = Context(segmenter(segment, pairs.texts()), load_words("en"), models=models or {})
    return score_metrics(pairs, names, context)


@pytest.mark.parametrize("silence", SILENCE)
def test_a_system_that_says_nothing_has_0_everywhere(tmp_path, silence, models):
    names = [*LIGHT, *WITH_MODELS, "emotion_hallucination"]
    results, tables = scored(tmp_path, dict.fromkeys(REFERENCES, silence), names, models=models)
    assert {name: result["mean"] for name, result in results.items()} == dict.fromkeys(names, 0)
    assert all(not value for name in names for value in tables[name][0].values())


@pytest.mark.needs("java")
@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ({"a": ["..."], "b": ["an angry voice"], "c": ["...", "so"]}, {"a": 0, "b": 100, "c": 0}),
        ({"a": ["!"]}, {"a": 0}),
    ],
)
def test_nothing_said_is_0_for_meteor_and_with_ptb(tmp_path, references, expected):
    """Under ptb a reference of punctuation has no tokens, either: pycocoevalcap gives ROUGE-L 100 there."""
    for silence in ("", "..."):
        hypotheses = dict.fromkeys(references, silence)
        results, _ = scored(tmp_path, hypotheses, ["meteor", "rouge_l"], references, "ptb")
        assert results["meteor"]["mean"] == results["rouge_l"]["mean"] == 0
    results, tables = scored(tmp_path, dict.fromkeys(references, "an angry voice"), ["meteor"], references, "ptb")
    assert tables["meteor"][0] == {utt: pytest.approx(value) for utt, value in expected.items()}


@pytest.mark.needs("spice")
@pytest.mark.slow(6)
def test_nothing_said_is_0_for_spice_and_spider(tmp_path):
    results, _ = scored(tmp_path, dict.fromkeys(REFERENCES, "..."), ["spice", "spider"])
    assert results["spice"]["mean"] == results["spider"]["mean"] == 0


def test_an_empty_caption_raises_no_mean_and_no_diversity(tmp_path, models):
    """Whatever else a system says, an utterance more without a caption never lifts a score."""
    said = {"a": "an angry voice", "b": "a sad voice"}
    names = [*LIGHT, *WITH_MODELS]
    few = {utt: REFERENCES[utt] for utt in said}
    with_two = {"a": "an angry voice", "b": "an angry voice"}
    for hypotheses in (said, with_two):
        without, _ = scored(tmp_path, hypotheses, names, few, models=models)
        silent, _ = scored(tmp_path, hypotheses | {"c": ""}, names, REFERENCES, models=models)
        for name in names:
            # document frequencies of CIDEr are those of the set, which is another one
            if name != "cider" and without[name]["mean"] is not None:
                assert silent[name]["mean"] <= without[name]["mean"] + 1e-9, name
    repeated, _ = scored(tmp_path, dict.fromkeys("abc", "an angry voice"), ["distinct_1", "distinct_2"])
    once, _ = scored(tmp_path, {"a": "an angry voice", "b": "", "c": "..."}, ["distinct_1", "distinct_2"])
    for name in once:  # saying it once and falling silent is no more diverse than saying it three times
        assert once[name]["mean"] == pytest.approx(repeated[name]["mean"])


@pytest.mark.parametrize("name", ["rouge_l", "cider", *WITH_MODELS])
def test_an_empty_caption_counts_as_0_in_the_mean(tmp_path, name, models):
    results, tables = scored(tmp_path, {"a": REFERENCES["a"][0], "b": "a sad voice", "c": ""}, [name], models=models)
    each = tables[name][0]
    assert each["c"] == 0 and results[name]["mean"] == pytest.approx((each["a"] + each["b"]) / 3)


def test_identical_captions_have_the_maximum(tmp_path, models):
    names = [*BLEUS, "rouge_l", *ATTRIBUTES, *WITH_MODELS]
    hypotheses = {utt: texts[0] for utt, texts in REFERENCES.items()}
    references = {utt: texts[:1] for utt, texts in REFERENCES.items()}
    results, _ = scored(tmp_path, hypotheses, names, references, models=models)
    assert {name: result["mean"] for name, result in results.items()} == pytest.approx(
        dict.fromkeys(names, 100), abs=1e-3
    )
    cider = scored(tmp_path, hypotheses, ["cider"], references)[0]["cider"]["mean"]
    for utt in hypotheses:
        worse = scored(tmp_path, hypotheses | {utt: "a voice"}, ["cider"], references)[0]["cider"]["mean"]
        assert worse < cider <= 1000 + 1e-9


def test_bleu_of_short_captions():
    """No reference of four tokens: there is no BLEU-4. No caption of four: it is 0, not pycocoevalcap's 3.16."""
    context = Context(SEGMENTERS["word"])
    long, short = {"a": ["an angry and loud voice"]}, {"a": ["an angry voice"]}
    for order, name in enumerate(BLEUS, 1):
        score = find_metric(name).make(context)
        if order < 4:
            assert score(short, {"a": "an angry voice"})[0] == pytest.approx(100)
        else:
            with pytest.raises(MetricUnavailable, match="no reference has 4 tokens"):
                score(short, {"a": "an angry voice"})
            assert score(long, {"a": "an angry voice"})[0] == 0
        assert score(long, {"a": "voice"})[0] == (pytest.approx(100 * math.exp(-4)) if order == 1 else 0)


@pytest.mark.parametrize(
    ("references", "why"),
    [
        ({"a": ["an angry voice"]}, "there is one utterance only"),
        ({"a": ["an angry voice"], "b": ["an angry voice"]}, "the references of all utterances are alike"),
        ({"a": ["..."], "b": ["!"]}, "the references of all utterances are alike"),
    ],
)
def test_cider_without_weights_is_no_score(references, why):
    """Its idf is 0 for every n-gram, so that pycocoevalcap gives 0 to the very reference."""
    segment = {"...": "", "!": ""}  # as ptb cuts them
    context = Context(lambda text: segment.get(text, text))
    with pytest.raises(MetricUnavailable, match=f"weights .idf. are all zero, since {why}"):
        find_metric("cider").make(context)(references, {utt: texts[0] for utt, texts in references.items()})


def test_one_reference_for_two_utterances_of_three_is_a_score(tmp_path):
    references = {"a": ["an angry voice"], "b": ["an angry voice"], "c": ["so calm"]}
    assert scored(tmp_path, {"a": "angry", "b": "x", "c": "so calm"}, ["cider"], references)[0]["cider"]["mean"] > 0


def test_one_utterance_and_one_candidate_have_no_spread(tmp_path, repo):
    (tmp_path / "ref").write_text('{"a": "an angry voice"}')
    command = [sys.executable, "-m", "espnet2_secap.bin.sec_score", "--ref", "ref", "--hyp", "ref", "--lang", "en"]
    command += [
        "--segment",
        "word",
        "--output",
        "s/score.json",
        "--metrics",
        "bleu_1",
        "bleu_4",
        "cider",
        "rate_recall",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(repo)})
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "s" / "score.json").read_text())
    assert score["bleu_1"]["std"] == 0 and score["bleu_1"]["n"] == 1
    assert [name for name, value in score.items() if value["mean"] is None] == ["bleu_4", "cider", "rate_recall"]
    assert "bleu_1           100.00\n" in done.stdout and "±" not in done.stdout
    assert "cider            n/a: its weights (idf) are all zero, since there is one utterance only" in done.stdout


def test_references_without_a_word_are_told(tmp_path):
    (tmp_path / "ref").write_text(json.dumps({"a": ["..."], "b": ["x", "!"], "c": "。"}))
    (tmp_path / "hyp").write_text(json.dumps(dict.fromkeys("abc", "x")))
    note = read_pairs(tmp_path / "ref", tmp_path / "hyp").note
    assert "2 of 3 utterances have references without any word (a, c): no caption can match them" in note


def test_a_reference_without_a_word_beside_others_is_not_used(tmp_path):
    """As an empty reference it would be the closest in length to a short caption, which has no penalty then."""
    alone, with_dots = (
        {"a": texts, "b": ["a sad voice"]} for texts in (["an angry loud voice"], ["...", "an angry loud voice"])
    )
    hypotheses = {"a": "angry", "b": "a sad voice"}
    means = [scored(tmp_path, hypotheses, [*BLEUS, "cider"], one)[0] for one in (alone, with_dots)]
    assert means[0] == means[1]


@pytest.mark.parametrize("reference", ["", " ", "\u3000", []])
def test_empty_references_are_an_error_with_the_id(tmp_path, reference):
    (tmp_path / "ref").write_text(json.dumps({"a": "x", "b": reference}))
    with pytest.raises(SecError, match="ref: b: has (no|an empty) caption"):
        read_pairs(tmp_path / "ref", tmp_path / "ref")


def test_not_a_number_is_never_a_score(monkeypatch):
    """Neither of the corpus nor of an utterance; what has no value (None) is no number either, and allowed."""
    values = {"corpus": (math.nan, {"a": 1.0}), "each": (1.0, {"a": math.inf}), "none": (1.0, {"a": None})}
    for name, value in values.items():
        monkeypatch.setitem(METRICS, name, Metric(name, name, lambda context, v=value: lambda *texts: v))
    results, tables = score_metrics(Pairs({"a": ["x"]}, [{"a": "x"}]), list(values), Context(str))
    assert results["corpus"] == {"mean": None, "reason": "is not a number"}
    assert results["each"] == {"mean": None, "reason": "is not a number for 1 utterances (a)"}
    assert results["none"]["mean"] == 1 and list(tables) == ["none"]


def test_ids_in_two_unicode_forms_are_told(tmp_path):
    (tmp_path / "ref").write_text('{"caf\u00e9": "x", "b": "x"}')
    (tmp_path / "hyp").write_text('{"cafe\u0301": "x", "b": "x"}')
    with pytest.raises(SecError, match="1 of the 2 utterances .* 1 are the same but for their Unicode form"):
        read_pairs(tmp_path / "ref", tmp_path / "hyp")


def test_forms_of_captions(tmp_path):
    """é counts as one character however it is written; ， and , do under nfkc, and a note says so."""
    (tmp_path / "ref").write_text('{"a": "caf\u00e9", "b": "高兴，开心", "c": "平静，好"}')
    (tmp_path / "hyp").write_text('{"a": "cafe\u0301", "b": "高兴,开心", "c": "平静，好"}')
    means, notes = {}, {}
    for form in ("none", "nfc", "nfkc"):
        pairs = read_pairs(tmp_path / "ref", tmp_path / "hyp", form)
        means[form] = score_metrics(pairs, ["rouge_l"], Context(SEGMENTERS["char"]))[1]["rouge_l"][0]
        notes[form] = pairs.note
    assert means["none"]["a"] < 100 > means["none"]["b"]
    assert means["nfc"]["a"] == 100 > means["nfc"]["b"]
    assert means["nfkc"] == {"a": 100, "b": 100, "c": 100} and notes["nfkc"] == ""
    assert "1 of 4 captions differ under NFKC" in notes["nfc"] and "--normalize nfkc" in notes["nfc"]


def test_every_silence_of_these_tests_is_one():
    assert not any(map(says_something, SILENCE))

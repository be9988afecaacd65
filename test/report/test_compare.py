from dataclasses import replace

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.compare import compare
from espnet2_secap.report.tables import score_table

REFERENCES = {"a": ["很高兴"], "b": ["悲伤难过"], "c": ["语速快"]}
GOOD = {"a": ["很高兴", "高兴"], "b": ["悲伤"], "c": ["语速快"]}
BAD = {"a": ["很悲伤"], "b": ["生气"], "c": ["语速慢"]}


@pytest.fixture
def exp(tmp_path, scored):
    """Two systems on test and dev, a third one on test; the second has no BLEU on dev."""
    scored("sec_a/decode", GOOD, REFERENCES, ["bleu_1", "rouge_l", "emotion_recall", "distinct_1"])
    scored("sec_b/decode", BAD, REFERENCES, ["bleu_1", "rouge_l", "emotion_recall", "distinct_1"])
    scored("sec_a/decode", GOOD, REFERENCES, ["bleu_1", "rouge_l"], dset="dev")
    scored("sec_b/decode", BAD, REFERENCES, ["rouge_l"], dset="dev")
    scored("sec_c/decode", GOOD, REFERENCES, ["rouge_l"])
    return tmp_path / "exp"


PAIR = ("sec_a/decode", "sec_b/decode")


def test_all_common_sets_and_metrics(exp):
    dev, test = compare(find_scores(exp), PAIR)
    assert (dev.dset, test.dset, test.utterances) == ("dev", "test", 3)
    assert [one.metric for one in dev.differences] == ["rouge_l"]
    bleu, rouge, emotion = test.differences
    # emotion: of a and b alone it is known: 100 and 100 against 0 and 0; every resample with one of both tells the same
    assert (emotion.a, emotion.b, emotion.difference) == (100, 0, 100)
    assert (emotion.low, emotion.high) == (100, 100) and emotion.p == pytest.approx(2 / 10000, rel=0.1)
    # ROUGE-L has 1 character of 3 (a), 0 (b), 2 of 3 (c) for B: F is 100/3, 0, 200/3
    assert rouge.b == pytest.approx(100 / 3, abs=1e-3) and rouge.difference == pytest.approx(rouge.a - rouge.b)
    assert rouge.low > 0 and bleu.difference > 0 and bleu.low <= bleu.difference <= bleu.high
    assert test.notes == [
        "distinct-1 is omitted: it counts distinct items, but a resampled set contains utterances several times"
    ]


def test_the_other_way_round_has_the_other_sign(exp):
    (forth,) = compare(find_scores(exp), PAIR, ["test"], ["rouge_l"])
    (back,) = compare(find_scores(exp), PAIR[::-1], ["test"], ["rouge_l"])
    one, other = forth.differences[0], back.differences[0]
    assert (other.difference, other.low, other.high, other.p) == (-one.difference, -one.high, -one.low, one.p)


def test_equal_systems(exp):
    for pair in (("sec_a/decode", "sec_a/decode"), ("sec_a/decode", "sec_c/decode")):
        for one in compare(find_scores(exp), pair, ["test"])[0].differences:
            assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_tables(exp):
    (test,) = compare(find_scores(exp), PAIR, ["test"], ["emotion_recall"])
    title = "test, 3 utterances, per cent, segmentation char: A = sec_a/decode, B = sec_b/decode"
    assert test.text().splitlines()[0] == title
    assert test.text().splitlines()[3].split() == [
        "emotion", "recall", "100.00", "0.00", "+100.00", "+100.00", "to", "+100.00", "<", "0.001",
    ]  # fmt: skip
    assert test.markdown().startswith(f"## {title}\n\n| metric | A | B | A - B | 95% | p |\n")
    assert "| +100.00 to +100.00 | **&lt; 0.001** |" in test.markdown()
    numbers = test.numbers()
    assert (numbers["set"], numbers["a"], numbers["b"], numbers["seed"]) == ("test", *PAIR, 0)
    assert numbers["metrics"]["emotion_recall"]["difference"] == 100


def test_a_mean_that_is_not_the_corpus_value_is_noted(exp):
    scores = find_scores(exp)
    for score in scores:
        score.metrics["rouge_l"]["mean"] = 12.5
    (test,) = compare(scores, PAIR, ["test"], ["rouge_l"])
    assert test.notes[0].startswith("ROUGE-L: the mean over the utterances is compared")
    assert "(12.50, 12.50)" in test.notes[0]


@pytest.mark.parametrize(
    "pair, dsets, metrics, message",
    [
        (
            ("sec_a/decode", "sec_x"),
            None,
            None,
            "system 'sec_x' has no scores; choose from: sec_a/decode, sec_b/decode",
        ),
        (("sec_a/decode", "sec_c/decode"), ["dev"], None, "--set dev: not scored for both .* choose from: test"),
        (PAIR, None, ["nonsense"], "no metric 'nonsense'"),
        (PAIR, None, ["cider"], "--metrics cider: cannot be compared on dev: it was not computed"),
        (PAIR, ["test"], ["distinct_1"], "--metrics distinct_1: cannot be compared on test: it counts"),
    ],
)
def test_bad_choices(exp, pair, dsets, metrics, message):
    with pytest.raises(SecError, match=message):
        compare(find_scores(exp), pair, dsets, metrics)


def test_other_utterances_or_other_segmentation(scored, tmp_path):
    scored("a", GOOD, REFERENCES)
    scored("b", {"a": ["x"], "d": ["x"]}, {"a": ["很"], "d": ["很"]})
    with pytest.raises(SecError, match=r"different utterances of test: 3 are in only one of them \(b, c, d\)"):
        compare(find_scores(tmp_path / "exp"), ("a", "b"))
    scored("c", GOOD, REFERENCES, segment="word")
    with pytest.raises(SecError, match=r"scored with different segment \(char, word\)"):
        compare(find_scores(tmp_path / "exp"), ("a", "c"))
    scored("d", GOOD, REFERENCES, dset="dev")
    with pytest.raises(SecError, match="a and d have no set in common"):
        compare(find_scores(tmp_path / "exp"), ("a", "d"))


def test_sets_of_one_name_and_the_same_ids_that_are_not_the_same_set(exp, tmp_path):
    """Two corpora that count from 0: their utterances have nothing in common."""
    other = tmp_path / "other"
    other.write_text("".join(f'{utt} ["something else"]\n' for utt in REFERENCES))
    scores = [
        replace(score, meta=score.meta | {"ref": str(other)}) if score.system == "sec_c/decode" else score
        for score in find_scores(exp)
    ]
    with pytest.raises(SecError, match="were scored against different references .*their ids are equal"):
        compare(scores, ("sec_a/decode", "sec_c/decode"))
    table, notes = score_table([score for score in scores if score.dset == "test"])
    assert notes == [f"(1) other references than in the first row ({other}): not comparable"]
    assert [row[0].note for row in table.rows] == ["", "", "(1)"]
    other.write_text((tmp_path / "dump/test/captions").read_text())  # another file of the same set
    assert compare(scores, ("sec_a/decode", "sec_c/decode"))


def test_other_unicode_forms_are_not_compared_and_earlier_scores_are_nfc(scored, tmp_path):
    for system, meta in (("a", {}), ("b", {"normalize": "nfc"}), ("c", {"normalize": "nfkc"})):
        scored(system, GOOD, REFERENCES, **meta)
    scores = find_scores(tmp_path / "exp")
    assert compare(scores, ("a", "b"))
    with pytest.raises(SecError, match=r"scored with different normalize \(nfc, nfkc\)"):
        compare(scores, ("a", "c"))


def test_hallucination_about_other_attributes_is_not_compared_and_the_rest_is(scored, tmp_path):
    names = ["rouge_l", "hallucination_factuality", "hallucination_faithfulness"]
    scored("a", GOOD, REFERENCES, names, hallucination_attributes=["emotion", "rate"])
    scored("b", BAD, REFERENCES, names, hallucination_attributes=["rate"])
    scored("c", BAD, REFERENCES, ["rouge_l"])  # nobody asked for hallucinations
    (one,) = compare(find_scores(tmp_path / "exp"), ("a", "b"))
    assert [difference.metric for difference in one.differences] == ["rouge_l"]
    assert "it is about different attributes (['emotion', 'rate'], ['rate'])" in one.notes[0]
    assert compare(find_scores(tmp_path / "exp"), ("a", "c"))[0].differences

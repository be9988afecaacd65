"""Two systems over seeds and over sets: differences worked out by hand."""

import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.compare import compare
from espnet2_secap.report.seeds import compare_seeds

RIGHT, HALF, WRONG = "一二三四", "一二五六", "七八九十"  # BLEU-1 by character: 100, 50, 0
SIZES = {"one": 4, "two": 8}
SAID = {  # system -> set -> what it says of all utterances
    "good_s0": {"one": RIGHT, "two": RIGHT},
    "good_s1": {"one": RIGHT, "two": HALF},
    "poor_s0": {"one": HALF, "two": HALF},
    "poor_s1": {"one": WRONG, "two": HALF},
}
PAIR = ("good_s{seed}/decode", "poor_s{seed}/decode")


@pytest.fixture
def scores(scored, tmp_path):
    for system, sets in SAID.items():
        for dset, text in sets.items():
            ids = [f"{dset}{at}" for at in range(SIZES[dset])]
            said, references = ({utt: [one] for utt in ids} for one in (text, RIGHT))
            scored(f"{system}/decode", said, references, ["bleu_1", "rouge_l", "distinct_1"], dset=dset)
    return find_scores(tmp_path / "exp")


def test_means_over_seeds_of_each_set(scores):
    one, two = compare_seeds(scores, PAIR, [0, 1])
    assert (one.dsets, one.utterances, two.dsets, two.utterances) == (["one"], 4, ["two"], 8)
    bleu = one.differences[0]
    assert bleu.a == pytest.approx([100, 100]) and bleu.b == pytest.approx([50, 0])
    # all utterances of a seed are alike: only the draw of the seeds, 50 or 100 points apart, makes an interval
    assert (bleu.difference, bleu.low, bleu.high) == pytest.approx((75, 50, 100)) and bleu.p < 0.01
    assert one.notes == [
        "distinct-1 is omitted: it counts distinct items, but a resampled set contains utterances several times"
    ]


def test_sets_together_weigh_by_their_utterances(scores):
    (both,) = compare_seeds(scores, PAIR, [0, 1], as_one=True, metrics=["rouge_l"])
    (rouge,) = both.differences
    assert both.utterances == 12 and rouge.a == pytest.approx([100, (4 * 100 + 8 * 50) / 12])
    assert rouge.b == pytest.approx([50, (4 * 0 + 8 * 50) / 12]) and rouge.low <= rouge.difference <= rouge.high
    (bleu,) = compare_seeds(scores, PAIR, [1], as_one=True, metrics=["bleu_1"])[0].differences
    assert bleu.a == pytest.approx([200 / 3]) and bleu.b == pytest.approx([100 / 3])  # of counts, which are summed


def test_one_seed_and_one_set_are_the_ordinary_comparison(scores):
    names = [name.format(seed=1) for name in PAIR]
    (one,), (other,) = compare(scores, tuple(names), ["one"]), compare_seeds(scores, tuple(names), dsets=["one"])
    for a, b in zip(one.differences, other.differences, strict=True):
        assert (a.metric, a.difference, a.low, a.high, a.p) == (b.metric, b.difference, b.low, b.high, b.p)


def test_text_markdown_and_numbers(scores):
    (both,) = compare_seeds(scores, PAIR, [0, 1], as_one=True, metrics=["rouge_l"])
    title = "one, two, 12 utterances, per cent, seeds 0 1: A = good_s{seed}/decode, B = poor_s{seed}/decode"
    assert both.text().startswith(title) and "83.33 ±23.57" in both.text() and "| ROUGE-L |" in both.markdown()
    assert json.loads(json.dumps(both.numbers()))["metrics"]["rouge_l"]["difference"] == pytest.approx(41.67, abs=0.01)


@pytest.mark.parametrize(
    "systems, seeds, more, message",
    [
        (("good_s0/decode", PAIR[1]), [0], {}, "--compare: 'good_s0/decode': must hold {seed}"),
        (PAIR, [], {}, "--compare: 'good_s{seed}/decode': holds {seed}; give --seeds"),
        (PAIR, [0, 7], {}, "system 'good_s7/decode' has no scores; choose from: good_s0/decode"),
        (PAIR, [0, 1], {"dsets": ["three"]}, "--set three: not scored for all good_s0/decode and good_s1/decode"),
        (PAIR, [0], {"metrics": ["distinct_1"]}, "--metrics distinct_1: cannot be compared on one: it counts"),
        (PAIR, [0], {"metrics": ["nothing"]}, "nothing"),
    ],
)
def test_bad_choices(scores, systems, seeds, more, message):
    with pytest.raises(SecError) as err:
        compare_seeds(scores, systems, seeds, **more)
    assert message in str(err.value) and "\n" not in str(err.value)

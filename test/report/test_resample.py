from dataclasses import replace

import numpy as np
import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.report.resample import Addends, Resampled, Utterances, bootstrap, interval, p_value


def means(values):
    """Addends of a mean over utterances, one candidate."""
    numbers = np.stack([values, np.ones(len(values))], -1)[None]
    return Addends(numbers, lambda sums: sums[..., 0] / sums[..., 1])


def test_two_utterances_enumerated():
    """Values 0 and 4: of the four resamples 00, 04, 40, 44 the means are 0, 2, 2, 4."""
    (values,) = bootstrap([means([0.0, 4.0])])
    shares = [(values == mean).mean() for mean in (0, 2, 4)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert interval(values) == (0, 4)
    assert p_value(values) == pytest.approx(2 * 0.25, abs=0.02)  # nought is as good as the other sign


def test_three_utterances_enumerated():
    """Differences 3, 0, -1: of the 27 resamples those without the 3 and with a -1 are below nought, 2^3 - 1, and the
    one of noughts alone is nought; 3 - 1 - 1 is above."""
    (values,) = bootstrap([means([3.0, 0.0, -1.0])])
    assert p_value(values) == pytest.approx(2 * 8 / 27, abs=0.03)
    assert interval(values) == (-1, 3)  # each has 1/27, more than 2.5 per cent


def test_same_resamples_for_all_parts_and_each_time():
    a, b = np.arange(7.0), np.arange(7.0) ** 2
    first = bootstrap([means(a), means(a + b), means(b)], 700)
    assert np.allclose(first[0] + first[2], first[1])
    assert np.array_equal(first, bootstrap([means(a), means(a + b), means(b)], 700))


def test_candidates_are_averaged_and_what_has_no_value_is_left_out():
    numbers = np.array([[[10, 1], [0, 0], [30, 1]], [[50, 1], [0, 0], [10, 1]]], dtype=float)
    part = Addends(numbers, lambda sums: sums[..., 0] / sums[..., 1])
    assert part.observed() == 25  # of candidate 1: 20, of candidate 2: 30
    counts = np.array([[2, 0, 1], [0, 3, 0]])
    drawn = part.of(counts)
    assert drawn[0] == pytest.approx((50 / 3 + 110 / 3) / 2) and np.isnan(drawn[1])
    assert interval(np.array([1.0, np.nan, 1.0])) == (1, 1)


@pytest.mark.parametrize("differences, p", [([0.0] * 999, 1.0), ([1.0] * 999, 0.002), ([-1.0] * 998 + [1.0], 0.004)])
def test_p(differences, p):
    assert p_value(np.array(differences)) == pytest.approx(p)


def test_interval_covers_the_truth():
    """Of 300 sets of 80 utterances with a true difference of 1, about 95% have an interval that holds it."""
    generator = np.random.default_rng(5)
    sets = generator.gamma(2.0, 1.5, size=(300, 80)) - 2.0  # skewed, mean 1
    values = bootstrap([means(one) for one in sets], 1000)
    held = [low <= 1 <= high for low, high in map(interval, values)]
    assert 0.91 <= np.mean(held) <= 0.98


def test_p_is_rarely_small_without_a_difference():
    generator = np.random.default_rng(6)
    values = bootstrap([means(one) for one in generator.normal(size=(300, 80))], 1000)
    assert 0.02 <= np.mean([p_value(one) < 0.05 for one in values]) <= 0.09


REFERENCES = {"a": ["很高兴", "非常高兴"], "b": ["悲伤难过"], "c": ["语速快"]}
CAPTIONS = {"a": ["高兴极了", "很"], "b": ["难过悲伤", "悲伤"], "c": ["语速很快", "生气"]}


METRICS = ["bleu_1", "bleu_2", "rouge_l"]


def test_bleu_is_counted_anew(scored):
    """On a resample a, a, c it is what BLEU gives to a set that holds a twice."""
    score = scored("x", CAPTIONS, REFERENCES, METRICS)
    captions, references = ({"a": it["a"], "a2": it["a"], "c": it["c"]} for it in (CAPTIONS, REFERENCES))
    other = scored("x", captions, references, METRICS, dset="resample")
    utterances = Utterances(score)
    for name in METRICS:
        part = utterances.addends(name)
        assert part.observed() == pytest.approx(score.metrics[name]["mean"], abs=1e-4)
        assert part.of(np.array([[2, 0, 1]]))[0] == pytest.approx(other.metrics[name]["mean"], abs=1e-4)
    assert not utterances.addends("bleu_1").mean and utterances.addends("rouge_l").mean


@pytest.mark.parametrize(
    "metric, reason",
    [
        ("distinct_1", "counts distinct items"),
        ("pitch_recall", "no reference names its pitch"),
        ("cider", "was not computed"),
    ],
)
def test_what_cannot_be_resampled_says_why(scored, metric, reason):
    score = scored("x", CAPTIONS, REFERENCES, ["distinct_1", "pitch_recall"])
    with pytest.raises(MetricUnavailable, match=reason):
        Utterances(score).addends(metric)


@pytest.mark.parametrize("content", [None, 'b ["x"]\n', 'a ["x"]\nb ["x"]\nc ["x"]\n'])
def test_bleu_needs_the_captions_that_were_scored(scored, content):
    """They are gone, those of other utterances, or have fewer candidates."""
    score = scored("x", CAPTIONS, REFERENCES)
    file = score.folder / "captions"
    file.write_text(content, encoding="utf-8") if content else file.unlink()
    with pytest.raises(MetricUnavailable, match="no longer exist"):
        Utterances(score).addends("bleu_1")
    assert Utterances(score).addends("rouge_l").observed() > 0


def test_intervals_lie_around_the_value(scored):
    score = scored("x", CAPTIONS, REFERENCES, ["bleu_1", "rouge_l", "distinct_1", "emotion_recall", "pitch_recall"])
    found = Resampled().intervals(score)
    assert list(found) == ["bleu_1", "rouge_l", "emotion_recall"]
    for name, (low, high) in found.items():
        assert low < score.metrics[name]["mean"] < high <= 100, name
    (score.folder / "scores.tsv").unlink()
    assert Resampled().intervals(score) == {}


@pytest.mark.parametrize(
    "content",
    ["", "id\tcandidate\tcider\n", "id\tcandidate\tcider\na\t1\tmuch\n", "id\tcandidate\tcider\na\t1\n",
     "id\tcandidate\tcider\na\t1\t1\nb\t2\t1\n", "id\tcandidate\tcider\na\t1\t1\na\t2\t1\nb\t1\t1\n"],
)  # fmt: skip
def test_broken_scores_are_named(scored, content):
    score = scored("x", CAPTIONS, REFERENCES)
    (score.folder / "scores.tsv").write_text(content)
    with pytest.raises(SecError, match="scores.tsv: .*score x again"):
        Utterances(score)


def test_bleu_is_counted_on_the_text_that_was_scored(scored):
    """Under NFKC ， is a comma, and a caption of punctuation is none."""
    references = {"a": ["很高兴，开心"], "b": ["悲伤，难过"], "c": ["，。很"]}
    captions = {"a": ["很高兴,开心"], "b": ["悲伤，难过"], "c": ["，。"]}
    wide = scored("wide", captions, references, ["bleu_1"])
    observed = Utterances(wide).addends("bleu_1").observed()
    assert observed == pytest.approx(wide.metrics["bleu_1"]["mean"], abs=1e-4)
    wide.meta["normalize"] = "nfkc"
    # 11 of 11 characters, 14 in the references
    assert Utterances(wide).addends("bleu_1").observed() == pytest.approx(100 * np.exp(1 - 14 / 11))


EMOTIONS = {"a": ["愤怒"], "b": ["生气"], "c": ["悲伤"], "d": ["声音有点远"]}
NAMED = {"a": ["生气", "高兴"], "b": ["平静", "愤怒"], "c": ["难过", "悲伤"], "d": ["高兴", "高兴"]}


def test_unweighted_accuracy_is_counted_anew(scored):
    """First candidates: angry 1 of 2, sad 1 of 1; on a resample a, a, d, d: angry 2 of 2, nothing else."""
    score = scored("x", NAMED, EMOTIONS, ["emotion_accuracy", "emotion_quadrant_accuracy"])
    part = Utterances(score).addends("emotion_accuracy")
    assert part.observed() == score.metrics["emotion_accuracy"]["mean"] == 75 and not part.mean
    assert part.of(np.array([[2, 0, 0, 2], [1, 2, 1, 0]])).tolist() == [(100 + 0) / 2, ((1 / 3 + 1) + (2 / 3 + 1)) * 25]
    assert set(Utterances(score).sampled) == {"emotion_accuracy", "emotion_quadrant_accuracy"}


def test_unweighted_accuracy_needs_the_words_and_labels_that_were_scored(scored, tmp_path):
    score = scored("x", NAMED, EMOTIONS, ["emotion_accuracy"])
    truth = {"truth": {"emotion": "label"}, "truth_dir": str(tmp_path)}
    (tmp_path / "utt2emo").write_text("a sad\nb angry\nc sad\nd sad\n")
    part = Utterances(replace(score, meta=score.meta | truth)).addends("emotion_accuracy")
    assert part.observed() == pytest.approx(((1 / 3 + 0) + (1 / 3 + 1)) * 25)
    (tmp_path / "utt2emo").unlink()
    for meta in (truth, {"words": str(tmp_path / "gone.json")}):
        with pytest.raises(MetricUnavailable, match="words or labels no longer exist"):
            Utterances(replace(score, meta=score.meta | meta)).addends("emotion_accuracy")

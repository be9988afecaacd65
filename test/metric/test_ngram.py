import math

import numpy as np
import pytest

from espnet2_secap.metric.abs_metric import Context
from espnet2_secap.metric.ngram import bleu_counts, bleu_of_counts
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import SEGMENTERS

CHAR = Context(SEGMENTERS["char"])


def score(name, references, hypotheses, context=CHAR):
    return find_metric(name).make(context)(references, hypotheses)


def test_bleu_1_by_hand():
    # both characters are right; brevity penalty exp(1 - 4/2)
    corpus, each = score("bleu_1", {"a": ["悲伤难过"]}, {"a": "悲伤"})
    assert corpus == pytest.approx(100 * math.exp(-1)) and each == {"a": pytest.approx(corpus)}


def test_bleu_counts_over_the_corpus_not_per_utterance():
    references = {"a": ["甲乙丙丁"], "b": ["戊己"]}
    # 4 of 4 and 0 of 2 characters: 4/6 together, while the utterances have 100 and 0
    corpus, each = score("bleu_1", references, {"a": "甲乙丙丁", "b": "子丑"})
    assert corpus == pytest.approx(100 * 4 / 6) and each == pytest.approx({"a": 100, "b": 0}, abs=1e-5)
    # bigrams: 3 of 4; BLEU-2 is the geometric mean of both precisions
    assert score("bleu_2", references, {"a": "甲乙丙丁", "b": "子丑"})[0] == pytest.approx(
        100 * math.sqrt(4 / 6 * 3 / 4)
    )


def test_bleu_counts_by_hand_and_summed():
    references, hypotheses = {"a": ["甲乙丙丁", "甲"], "b": ["戊己"]}, {"a": "甲乙丁", "b": "戊己戊"}
    counts = bleu_counts(CHAR, references, hypotheses)
    # found: 3 characters, 甲乙; 3 1- to 1 3-gram; the nearest length is 4. 戊 is there once only
    assert counts == {"a": [3, 1, 0, 0, 3, 2, 1, 0, 3, 4], "b": [2, 1, 0, 0, 3, 2, 1, 0, 3, 2]}
    sums = np.array([counts["a"], counts["b"], np.add(counts["a"], counts["b"])])
    assert bleu_of_counts(1)(sums) == pytest.approx([100 * math.exp(1 - 4 / 3), 100 * 2 / 3, 100 * 5 / 6])
    assert bleu_of_counts(2)(sums)[2] == pytest.approx(100 * math.sqrt(5 / 6 * 2 / 4))
    for order in (1, 2, 3, 4):
        expected = score(f"bleu_{order}", references, hypotheses)[0]
        assert bleu_of_counts(order)(sums)[2] == pytest.approx(expected)
    nothing = bleu_counts(CHAR, {"a": ["甲"]}, {"a": ""})
    assert bleu_of_counts(1)(np.array(nothing["a"])) == 0


def test_bleu_takes_the_closest_of_several_references():
    assert score("bleu_1", {"a": ["悲伤难过不已", "悲伤"]}, {"a": "悲伤"})[0] == pytest.approx(100)


def test_rouge_l_by_hand():
    # longest common subsequence 甲丙: precision 1, recall 1/2, beta 1.2
    corpus, each = score("rouge_l", {"a": ["甲乙丙丁"], "b": ["子丑"]}, {"a": "甲丙", "b": "寅"})
    first = 100 * (1 + 1.2**2) * 1 * 0.5 / (0.5 + 1.2**2 * 1)
    assert each == pytest.approx({"a": first, "b": 0}) and corpus == pytest.approx(first / 2)


def test_cider_by_hand():
    # every n-gram is in one of two documents, so all weigh the same. a: cosine 1 for 1- and 2-grams, none longer;
    # b: 1 for 1-grams, 0 for the 2-gram in the wrong order. CIDEr is 10 times the mean over n = 1 to 4.
    corpus, each = score("cider", {"a": ["甲乙"], "b": ["丙丁"]}, {"a": "甲乙", "b": "丁丙"})
    assert each == pytest.approx({"a": 100 * 10 * 2 / 4, "b": 100 * 10 / 4}) and corpus == pytest.approx(375)


def test_words_are_tokens_with_segment_word():
    context = Context(SEGMENTERS["word"])
    assert score("bleu_1", {"a": ["a sad voice"]}, {"a": "A SAD cat"}, context)[0] == pytest.approx(100 * 2 / 3)


def test_values_stay_with_their_ids_whatever_the_order():
    references = {"b": ["悲伤"], "a": ["高兴"]}
    _, each = score("bleu_1", references, {"a": "高兴", "b": "不知道"})
    assert each == pytest.approx({"a": 100, "b": 0}, abs=1e-5)


@pytest.mark.parametrize("name", ["bleu_1", "bleu_4", "rouge_l", "cider"])
@pytest.mark.parametrize(
    "odd",
    [
        "",
        " \t\n",
        "。，！",
        "a|||b",
        "\"'`\\",
        "😀😀",
        "第一行\n第二行\t",
        "\x00\x07",
        "的" * 10000,
        "\ud800",
    ],
)
def test_odd_captions_get_a_score(name, odd):
    references = {"a": ["语气很悲伤"], "b": ["语气很高兴"]}
    corpus, each = score(name, references, {"a": odd, "b": "语气很高兴"})
    assert 0 <= corpus <= 1000 and each["a"] == pytest.approx(0, abs=1e-3)

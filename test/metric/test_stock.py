import pytest

from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.ngram import cider
from espnet2_secap.metric.segment import segment_char
from espnet2_secap.metric.stock import cider_unseen, copies

REFERENCES = {"a": ["心情快乐舒畅"], "b": ["语速较快，声音高亢"], "c": ["声音低沉，心情悲伤", "难过"]}
HYPOTHESES = {"a": "心情快乐舒畅", "b": "语速较快，心情激动", "c": "声音低沉，十分难过"}


def context(*train):
    return Context(segment_char, train=train)


def test_stock_captions_are_left_out_and_the_others_keep_their_value():
    whole, each = cider(Context(segment_char))(REFERENCES, HYPOTHESES)
    train = ["心情快乐 舒畅", "心情快乐舒畅", "语速较快，声音高亢"]
    corpus, unseen = cider_unseen(context(*train))(REFERENCES, HYPOTHESES)
    assert unseen == each | {"a": None}
    assert corpus == pytest.approx((each["b"] + each["c"]) / 2) and corpus < whole
    _, unseen = cider_unseen(context(*train, "难过", "难过"))(REFERENCES, HYPOTHESES)  # one of c's two references
    assert unseen == {"a": None, "b": each["b"], "c": None}


def test_where_all_are_stock_captions_there_is_no_value():
    with pytest.raises(MetricUnavailable, match="every utterance has a reference that occurs more than once"):
        cider_unseen(context("高兴", "高兴"))({"a": ["高兴"], "b": ["高兴", "悲伤"]}, {"a": "高兴", "b": "悲伤"})


def test_copies_are_counted_whatever_the_blanks():
    hypotheses = {"a": "心情 快乐舒畅", "b": "语速快", "c": "", "d": "难过"}
    corpus, each = copies(context("心情快乐舒畅", "难过", ""))(dict.fromkeys(hypotheses, ["x"]), hypotheses)
    assert (corpus, each) == (50, {"a": 100, "b": 0, "c": 0, "d": 100})


@pytest.mark.parametrize("make", [cider_unseen, copies])
def test_training_captions_are_needed(make):
    with pytest.raises(MetricUnavailable, match=r"needs the training captions \(--train_captions\)"):
        make(Context(segment_char))

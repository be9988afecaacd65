import pytest
import torch
from tiny import make_bert

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.bertscore import LAYERS, bertscore, f1


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(make_bert(tmp_path_factory.mktemp("bertscore") / "bert"))


def scorer(model):
    return bertscore(Context(str, models={"bertscore": model}))


def test_f1_by_hand():
    """Captions of one and two tokens behind a special one; the special one may be matched and does not count."""
    e = torch.eye(3)
    hypothesis = torch.stack([e[2], e[0]]), torch.tensor([False, True])
    reference = torch.stack([e[2], 0.8 * e[0] + 0.6 * e[1], e[2]]), torch.tensor([False, True, True])
    # precision: the one token finds 0.8; recall: 0.8 and 1 (the special token), in the mean 0.9
    assert f1(hypothesis, reference) == pytest.approx(2 * 0.8 * 0.9 / 1.7)


def test_values_of_bert_score(bert):
    """What the package bert_score 0.3.13 gives with the same folder (layer 2, then layer 1)."""
    references = {"a": ["声音低沉，语速缓慢"], "b": ["说话人语气平静"], "c": ["开心"]}
    hypotheses = {"a": "声音低沉", "b": "语速较快，开心", "c": "开心"}
    corpus, each = scorer(bert)(references, hypotheses)
    assert list(each.values()) == pytest.approx([88.38, 73.60, 100.0], abs=0.01)
    assert corpus == pytest.approx(sum(each.values()) / 3)
    _, each = scorer(f"{bert}@1")({"a": ["声音低沉，语速缓慢", "语速"], "b": ["好"]}, {"a": "声音低沉", "b": "高兴"})
    assert list(each.values()) == pytest.approx([88.45, 75.96], abs=0.01)


def test_the_best_reference_counts_and_empty_captions_have_nothing(bert):
    score = scorer(bert)
    both = score({"a": ["说话人语气平静", "声音低沉，语速缓慢"]}, {"a": "声音低沉"})[0]
    assert both == pytest.approx(score({"a": ["声音低沉，语速缓慢"]}, {"a": "声音低沉"})[0], abs=1e-3)
    assert score({"a": ["高兴"], "b": ["高兴"]}, {"a": "", "b": "高兴"})[1] == {"a": 0, "b": pytest.approx(100)}


def test_long_captions_are_cut_where_the_model_ends(bert):
    corpus, _ = scorer(bert)({"a": ["语速较快"]}, {"a": "快" * 10000})
    assert 0 < corpus < 100


def test_errors(bert):
    with pytest.raises(MetricUnavailable, match="--bertscore"):
        bertscore(Context(str))
    with pytest.raises(SecError, match="has the layers 0 to 2, not 3"):
        scorer(f"{bert}@3")


def test_only_a_number_behind_the_last_at_is_a_layer(bert, tmp_path):
    """A folder's name may hold an @, and need hold none."""
    pairs = {"a": ["声音低沉，语速缓慢"]}, {"a": "声音低沉"}
    folder = tmp_path / "bert@home"
    folder.symlink_to(bert)
    plain = scorer(bert)(*pairs)[0]
    assert scorer(str(folder))(*pairs)[0] == plain == scorer(f"{folder}@2")(*pairs)[0]
    assert scorer(f"{folder}@1")(*pairs)[0] != plain
    with pytest.raises(SecError, match="similarity model: @2: no such folder"):
        scorer("@2")


def test_layers_of_bert_score_for_the_models_that_it_knows():
    assert LAYERS["bert-base-chinese"] == 8 and LAYERS["roberta-large"] == 17
    assert LAYERS["bert-base-uncased"] == LAYERS["bert-base-multilingual-cased"] == 9


def test_nothing_alike_is_zero():
    e, counts = torch.eye(2), torch.tensor([True])
    assert f1((e[:1], counts), (e[1:], counts)) == 0.0
    assert f1((e[:1], ~counts), (e[:1], counts)) == f1((e[:1], counts), (e[:1], ~counts)) == 0.0


def test_more_utterances_than_are_in_memory_at_a_time(bert, monkeypatch):
    references = {f"u{i}": [text] for i, text in enumerate(["高兴", "悲伤", "语速较快", "声音低沉", "平静"])}
    hypotheses = {f"u{i}": text for i, text in enumerate(["高兴", "高兴", "语速缓慢", "声音", "平静"])}
    whole = scorer(bert)(references, hypotheses)
    monkeypatch.setattr("espnet2_secap.metric.bertscore.UTTERANCES", 2)
    corpus, each = scorer(bert)(references, hypotheses)
    assert list(each) == list(hypotheses)
    assert corpus == pytest.approx(whole[0], abs=1e-3) and each == pytest.approx(whole[1], abs=1e-3)

"""FENSE's parts by hand on a tiny BERT, and against aac-metrics where it is installed."""

import sys
import types

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForSequenceClassification

from espnet2_secap.errors import SecError
from espnet2_secap.metric import fluency
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.fluency import FluencyDetector
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char

CAPTIONS = ["语速较快，声音高亢", "悲伤", "说话人语气平静，音量适中。", "高兴高兴"]
REFERENCES = [["语速很快", "声音高亢，愤怒"], ["声音低沉"], ["语气平静"], ["心情愉快", "十分开心"]]


@pytest.fixture(scope="module")
def detector(tiny_bert, tmp_path_factory) -> str:
    """A checkpoint in the form of FENSE's, which finds an error in two of the four captions."""
    encoder, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)
    torch.manual_seed(0)
    clf = torch.nn.Linear(encoder.config.hidden_size, 6)
    with torch.no_grad():
        plain = [text.replace("，", "").replace("。", "") for text in CAPTIONS]
        states = [encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0] for text in plain]
        clf.weight[5] = 100 * (states[0] - states[1])  # the error lies in what tells the first from the second
        values = torch.stack(states) @ clf.weight[5]
        clf.bias[5] = -values.sort().values[1:3].mean()
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    state |= {f"clf.{key}": value for key, value in clf.state_dict().items()}
    state["encoder.embeddings.position_ids"] = torch.arange(512)[None]  # as transformers once saved it
    path = tmp_path_factory.mktemp("fense") / "echecker.ckpt"
    torch.save({"model_type": tiny_bert, "num_classes": 6, "state_dict": state}, path)
    return str(path)


def pairs():
    return {str(i): some for i, some in enumerate(REFERENCES)}, {str(i): one for i, one in enumerate(CAPTIONS)}


def test_a_caption_with_an_error_keeps_a_tenth(detector, tiny_bert):
    context = Context(segment_char, models={"fluency": detector, "sbert": tiny_bert})
    errors, similar, fense = (find_metric(name).make(context)(*pairs()) for name in ("fer", "sbert_sim", "fense"))
    assert errors[0] == 50 and set(errors[1].values()) == {0.0, 100.0} and errors[1]["0"] == 100 and not errors[1]["1"]
    for utt, value in fense[1].items():
        assert value == pytest.approx(similar[1][utt] * (0.1 if errors[1][utt] else 1))
    assert fense[0] == pytest.approx(sum(fense[1].values()) / 4)
    assert find_metric("fer").lower_is_better


def test_the_mean_of_the_references_counts(tiny_bert):
    score = find_metric("sbert_sim").make(Context(segment_char, models={"sbert": tiny_bert}))
    (one, _), (other, _) = (score({"a": [text]}, {"a": "悲伤"}) for text in ("声音低沉", "高兴"))
    assert score({"a": ["声音低沉", "高兴"]}, {"a": "悲伤"})[0] == pytest.approx((one + other) / 2)


def test_spider_fl_takes_the_same_share_of_spider(detector, monkeypatch):
    values = {"0": 80.0, "1": 40.0, "2": 0.0, "3": 20.0}
    monkeypatch.setattr(fluency, "spider", lambda context: lambda references, hypotheses: (35.0, values))
    score = find_metric("spider_fl").make(Context(segment_char, models={"fluency": detector}))
    errors = find_metric("fer").make(Context(segment_char, models={"fluency": detector}))(*pairs())[1]
    assert score(*pairs())[1] == {utt: pytest.approx(v * (0.1 if errors[utt] else 1)) for utt, v in values.items()}


def test_a_sequence_classifier_of_transformers(tiny_bert, tmp_path):
    config = BertConfig.from_pretrained(tiny_bert, num_labels=2, id2label={0: "error", 1: "fine"})
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.save_pretrained(tmp_path)
    found = FluencyDetector(str(tmp_path)).probabilities(CAPTIONS)
    with torch.no_grad():
        wanted = [model(**tokenizer(text, return_tensors="pt")).logits.softmax(1)[0, 0].item() for text in CAPTIONS]
    assert found == pytest.approx(wanted, abs=1e-5)


def test_what_says_nothing(detector, tiny_bert):
    context = Context(segment_char, models={"fluency": detector, "sbert": tiny_bert})
    for name, value in (("fer", 100.0), ("sbert_sim", 0.0), ("fense", 0.0)):
        assert find_metric(name).make(context)({"a": ["高兴"]}, {"a": ""}) == (value, {"a": value})


def test_without_a_model_it_says_how_to_name_one(detector):
    for name, option in (
        ("fer", "--fluency"),
        ("sbert_sim", "--sbert"),
        ("fense", "--fluency"),
        ("spider_fl", "--fluency"),
    ):
        with pytest.raises(MetricUnavailable, match=option):
            find_metric(name).make(Context(segment_char))


def test_a_checkpoint_that_is_none_is_one_line(detector, tiny_bert, tmp_path):
    torch.save({"x": torch.ones(1)}, tmp_path / "a.ckpt")
    with pytest.raises(SecError, match="is no checkpoint of FENSE"):
        FluencyDetector(str(tmp_path / "a.ckpt"))
    state = torch.load(detector)
    del state["state_dict"]["clf.bias"]
    torch.save(state, tmp_path / "b.ckpt")
    with pytest.raises(SecError, match="does not fit the BERT .*: clf.bias; give FILE@FOLDER"):
        FluencyDetector(f"{tmp_path / 'b.ckpt'}@{tiny_bert}")


@pytest.mark.needs("aac_metrics")
def test_equal_to_aac_metrics(detector, tiny_bert, monkeypatch):
    for name in ("msclap", "transformers.tokenization_utils_fast"):  # what it imports and does not use here
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.CLAP, module.PreTrainedTokenizerFast = object, object
            monkeypatch.setitem(sys.modules, name, module)
    from aac_metrics.functional.fense import fense
    from aac_metrics.functional.fer import BERTFlatClassifier
    from aac_metrics.functional.vocab import vocab
    from sentence_transformers import SentenceTransformer

    checker, state = BERTFlatClassifier(tiny_bert, 6), torch.load(detector)["state_dict"]
    state.pop("encoder.embeddings.position_ids")
    checker.load_state_dict(state)
    theirs, each = fense(
        CAPTIONS, REFERENCES, sbert_model=SentenceTransformer(tiny_bert, device="cpu"), echecker=checker.eval(),
        echecker_tokenizer=AutoTokenizer.from_pretrained(tiny_bert), device="cpu",
    )  # fmt: skip
    context = Context(segment_char, models={"fluency": detector, "sbert": tiny_bert})
    for name in ("fer", "sbert_sim", "fense"):
        corpus, ours = find_metric(name).make(context)(*pairs())
        assert corpus == pytest.approx(100 * theirs[name].item(), abs=1e-4)
        assert list(ours.values()) == pytest.approx([100 * value for value in each[name].tolist()], abs=1e-4)
    ours = find_metric("vocabulary").make(context)(*pairs())
    theirs, each = vocab([segment_char(text) for text in CAPTIONS], None)
    assert ours[0] == theirs["vocab.cands"] and list(ours[1].values()) == each["vocab.cands"].tolist()

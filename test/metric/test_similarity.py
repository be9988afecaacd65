import json

import pytest
import torch
from tiny import make_bert
from transformers import AutoModel, AutoTokenizer, Qwen2Config, Qwen2Model

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char


def test_sim_of_the_released_code(secap_tiny):
    folder = secap_tiny
    sim = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["sim"]
    score = find_metric("sim1").make(Context(segment_char, models={"sim1": str(folder / "weights" / "text2vec")}))
    references = {str(i): [right] for i, (_, right) in enumerate(sim["pairs"])}
    hypotheses = {str(i): left for i, (left, _) in enumerate(sim["pairs"])}
    corpus, each = score(references, hypotheses)
    assert list(each.values()) == pytest.approx([100 * value for value in sim["values"]], abs=1e-3)
    assert corpus == pytest.approx(100 * sum(sim["values"]) / len(sim["values"]), abs=1e-3)
    # of several references the nearest counts
    one = sim["pairs"][0][0]
    assert score({"a": ["悲伤", one]}, {"a": one})[0] == pytest.approx(100, abs=1e-3)


def test_without_a_model_it_says_how_to_name_one():
    with pytest.raises(MetricUnavailable, match="--sim2"):
        find_metric("sim2").make(Context(segment_char))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("similarity") / "bert")


def test_sim2_pools_as_the_model_says(bert, tmp_path):
    """A model of sentence-transformers that takes the first token's vector; by hand from the BERT inside."""
    from sentence_transformers import SentenceTransformer, models

    inside = models.Transformer(str(bert))
    pooling = models.Pooling(inside.get_word_embedding_dimension(), pooling_mode="cls")
    SentenceTransformer(modules=[inside, pooling]).save(str(tmp_path / "model"))
    left, right = "声音低沉", "语速较快，声音高亢"
    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    with torch.no_grad():
        a, b = (model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0] for text in (left, right))
    wanted = 100 * torch.cosine_similarity(a, b, dim=0).item()
    score = find_metric("sim2").make(Context(segment_char, models={"sim2": str(tmp_path / "model")}))
    assert score({"a": [right]}, {"a": left})[0] == pytest.approx(wanted, abs=1e-3)
    mean = find_metric("sim1").make(Context(segment_char, models={"sim1": str(bert)}))
    assert mean({"a": [right]}, {"a": left})[0] != pytest.approx(wanted, abs=0.1)


def test_of_a_plain_bert_both_take_the_mean(bert):
    references, hypotheses = {"a": ["语速较快", "高兴"], "b": ["悲伤"]}, {"a": "语速很快", "b": ""}
    sims = [
        find_metric(name).make(Context(segment_char, models={name: str(bert)}))(references, hypotheses)[1]
        for name in ("sim1", "sim2")
    ]
    assert list(sims[0].values()) == pytest.approx(list(sims[1].values()), abs=1e-3)


def test_a_folder_without_a_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SecError, match=f"--sim2 {tmp_path}"):
        find_metric("sim2").make(Context(segment_char, models={"sim2": str(tmp_path)}))


@pytest.mark.parametrize("name", ["sim1", "sim2", "bertscore"])
def test_the_model_runs_on_the_device_that_is_given(bert, name):
    with pytest.raises(RuntimeError, match="device type at start of device string: nowhere"):
        find_metric(name).make(Context(segment_char, models={name: str(bert)}, device="nowhere"))


def test_a_tokenizer_without_a_vocabulary_is_refused(tmp_path):
    """transformers makes an empty one where the files of a model's tokenizer are missing."""
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, vocab_size=20)
    Qwen2Model(Qwen2Config(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(SecError, match="--sim2: .* has no vocabulary|--sim2 .*cannot load"):
        find_metric("sim2").make(Context(segment_char, models={"sim2": str(tmp_path)}))


@pytest.mark.parametrize("metric", ["sim1", "sim2", "bertscore"])
def test_a_model_of_another_language_is_told(metric, bert, caplog):
    score = find_metric(metric).make(Context(segment_char, models={metric: str(bert)}))
    score({"a": ["声音低沉"]}, {"a": "语速较快"})
    assert "unknown to its tokenizer" not in caplog.text
    score({"a": ["a calm voice"]}, {"a": "he shouts"})
    assert "100% of the tokens of these texts are unknown to its tokenizer" in caplog.text

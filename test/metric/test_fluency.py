"""FENSE's parts by hand on a tiny BERT, and against the values of aac-metrics."""

import sys
import types

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForSequenceClassification

from espnet2_secap.errors import SecError
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


# What aac-metrics 0.5.5 gives for the captions and models below (first the corpus value), printed by
#   python -m pytest -n0 -s test/metric/test_fluency.py -k equal_to_aac_metrics
AAC = {
    "fer": [50.0, 100.0, 0.0, 0.0, 100.0],
    "sbert_sim": [97.408403, 97.918034, 95.729417, 98.975849, 97.010314],
    "fense": [53.549525, 9.791803, 95.729417, 98.975849, 9.701031],
    "vocabulary": [21.0, 9.0, 3.0, 4.0, 8.0],
    "probabilities": [0.9753193, 0.7332945, 0.6747264, 0.9879810],
}
SPOKEN = [
    "the speaker sounds very happy and a bit proud",
    "she is sad",
    "an angry voice that",
    "he speaks fast, and his voice is high",
]
HEARD = [
    ["he is happy", "the voice is full of joy"],
    ["a sad woman", "she cries", "the speaker is sad"],
    ["the man is angry"],
    ["a fast voice", "somebody speaks fast and high"],
]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> dict[str, str]:
    """A BERT of letters and an error detector whose weights are sines: the same with every version of any library."""

    def fill(tensors, scale):
        with torch.no_grad():
            for i, tensor in enumerate(tensors):
                values = torch.arange(tensor.numel(), dtype=torch.float64) * 12.9898 + i
                tensor.copy_((scale * torch.sin(values * values)).reshape(tensor.shape))

    folder = tmp_path_factory.mktemp("fixed")
    letters = "abcdefghijklmnopqrstuvwxyz,"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    encoder = AutoModel.from_config(config)
    fill([tensor for name, tensor in sorted(encoder.named_parameters()) if "LayerNorm" not in name], 0.5)
    encoder.save_pretrained(folder)
    clf = torch.nn.Linear(16, 6)
    fill([clf.weight, clf.bias], 3.0)
    with torch.no_grad():
        clf.bias[5] -= 7.3  # two of the four captions have an error
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    state |= {f"clf.{key}": value for key, value in clf.state_dict().items()}
    torch.save({"model_type": str(folder), "num_classes": 6, "state_dict": state}, folder / "echecker.ckpt")
    return {"sbert": str(folder), "fluency": str(folder / "echecker.ckpt")}


def spoken():
    return {str(i): some for i, some in enumerate(HEARD)}, {str(i): one for i, one in enumerate(SPOKEN)}


def segment_words(text):
    return text


def ours(models) -> dict[str, list[float]]:
    """Name -> corpus value, and that of each caption."""
    context, found = Context(segment_words, models=models), {}
    for name in ("fer", "sbert_sim", "fense", "vocabulary"):
        corpus, each = find_metric(name).make(context)(*spoken())
        found[name] = [corpus, *each.values()]
    return found | {"probabilities": FluencyDetector(models["fluency"]).probabilities(SPOKEN)}


def test_equal_to_what_aac_metrics_gave(fixed):
    found = ours(fixed)
    assert set(found) == set(AAC)
    for name, values in AAC.items():
        assert found[name] == pytest.approx(values, abs=1e-4), name


@pytest.mark.slow(20)
@pytest.mark.needs("spice")
def test_spider_fl_takes_a_tenth_of_spider_where_there_is_an_error(fixed):
    context = Context(segment_words, models=fixed)
    plain, errors, scored = (find_metric(name).make(context)(*spoken()) for name in ("spider", "fer", "spider_fl"))
    assert errors[0] == 50 and plain[0] > 0
    for utt, value in scored[1].items():
        assert value == pytest.approx(plain[1][utt] * (0.1 if errors[1][utt] else 1))
    assert scored[0] == pytest.approx(sum(scored[1].values()) / 4)


@pytest.mark.needs("aac_metrics")
def test_equal_to_aac_metrics(fixed, monkeypatch):
    for name in ("msclap", "transformers.tokenization_utils_fast"):  # what it imports and does not use here
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.CLAP, module.PreTrainedTokenizerFast = object, object
            monkeypatch.setitem(sys.modules, name, module)
    from aac_metrics.functional.fense import fense
    from aac_metrics.functional.fer import BERTFlatClassifier
    from aac_metrics.functional.vocab import vocab
    from sentence_transformers import SentenceTransformer

    tokenizer = AutoTokenizer.from_pretrained(fixed["sbert"])
    checker = BERTFlatClassifier(fixed["sbert"], 6)
    checker.load_state_dict(torch.load(fixed["fluency"])["state_dict"])
    theirs, each = fense(
        SPOKEN, HEARD, sbert_model=SentenceTransformer(fixed["sbert"], device="cpu"), echecker=checker.eval(),
        echecker_tokenizer=tokenizer, device="cpu", return_probs=True,
    )  # fmt: skip
    words, own_words = vocab(SPOKEN, HEARD, pop_strategy=4000)
    found = {name: [100 * theirs[name].item(), *(100 * each[name]).tolist()] for name in ("fer", "sbert_sim", "fense")}
    found["vocabulary"] = [words["vocab.cands"].item(), *own_words["vocab.cands"].tolist()]
    found["probabilities"] = each["fluency_error.error_prob"].tolist()
    print(found)
    for name, values in ours(fixed).items():
        assert values == pytest.approx(found[name], abs=1e-4), name
    context = Context(segment_words)
    expected = find_metric("vocabulary_references").make(context)(*spoken())[0]
    assert expected == pytest.approx(words["vocab.mrefs_avg"].item(), rel=0.01)  # theirs: the mean of 4,000 draws

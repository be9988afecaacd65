import json

import pytest
import torch

from espnet2_secap.inference.consensus import consensus_of
from espnet2_secap.text.sentence import SentenceEncoder, cosine


@pytest.fixture(scope="module")
def meta(secap_tiny):
    return json.loads((secap_tiny / "meta.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def encoder(secap_tiny):
    return SentenceEncoder(str(secap_tiny / "weights" / "text2vec"), batch_size=7)


def test_similarity_of_the_released_code(meta, encoder):
    pairs = meta["sim"]["pairs"]
    left, right = (encoder([pair[i] for pair in pairs]) for i in (0, 1))
    ours = cosine(left, right).diagonal()
    assert (ours - torch.tensor(meta["sim"]["values"])).abs().max() <= 1e-5


def test_what_the_released_code_keeps(meta, encoder):
    candidates = meta["rerank"]["candidates"]
    vectors = encoder(candidates)
    similarity = cosine(vectors, vectors)
    assert (similarity - torch.tensor(meta["rerank"]["similarity"])).abs().max() <= 1e-5
    order, _ = consensus_of(similarity.numpy())
    assert [text for i, text in enumerate(candidates) if i in order[:5]] == meta["rerank"]["kept"]


def test_of_equals_argsort_drops_the_earlier():
    similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]).numpy()
    assert consensus_of(similarity)[0] == [2, 1, 0]


def gpt2(folder) -> str:
    """A decoder-only LM of 24 positions whose tokenizer has no token for padding and puts nothing around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "slow": 1, "sad": 2, "[UNK]": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>", padding_side="left").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    GPT2Model(GPT2Config(vocab_size=4, n_embd=16, n_layer=2, n_head=2, n_positions=24)).save_pretrained(folder)
    return str(folder)


def xlm_roberta(folder) -> str:
    """20 positions, of which two are not for text; a tokenizer that names no limit."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    words = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "slow": 3, "<unk>": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    special = dict(bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = XLMRobertaConfig(vocab_size=5, max_position_embeddings=20, pad_token_id=1, **sizes)
    XLMRobertaModel(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("make, longest", [(gpt2, 24), (xlm_roberta, 18)])
def test_limits_and_padding_of_other_models(make, longest, tmp_path):
    """Kind: special tokens and limits are not taken for granted. Longer texts are cut, and a batch equals its texts."""
    encoder = SentenceEncoder(make(tmp_path))
    assert encoder.max_length == longest
    texts = ["slow", "slow " * 60, "slow sad slow"]
    alone = torch.cat([encoder([text]) for text in texts])
    torch.testing.assert_close(encoder(texts), alone, rtol=0, atol=1e-5)
    assert len(encoder.tokens(texts)[texts[1]][0]) == longest


def test_an_empty_text_of_a_tokenizer_that_puts_nothing_around_it_is_zero(tmp_path):
    encoder = SentenceEncoder(gpt2(tmp_path))
    assert not encoder([""]).any() and not encoder(["slow", ""])[1].any()
    vectors, counts = encoder.tokens(["", "slow"])[""]
    assert len(vectors) == len(counts) == 0


@pytest.mark.parametrize("make", [gpt2, xlm_roberta])
def test_sentence_transformers_of_other_models(make, tmp_path):
    from espnet2_secap.metric.similarity import sentence_transformer

    folder = make(tmp_path)
    encode, mean = sentence_transformer(folder, "cpu"), SentenceEncoder(folder)
    texts = ["slow", "slow " * 60, "slow sad slow"]
    torch.testing.assert_close(encode(texts), mean(texts), rtol=0, atol=1e-5)

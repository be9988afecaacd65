"""Kind: frozen parts loaded without looking at what was missing, or of a class that the role does not fit."""

import json
import logging
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny import make_qwen

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.metric.similarity import sentence_transformer
from espnet2_secap.pretrained import is_hub_name, load_causal_lm, load_pretrained, load_text_model, position_limit
from espnet2_secap.text.sentence import SentenceEncoder
from espnet2_secap.text.text_encoder import BertTextEncoder

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)


def change(source, folder, rename=lambda key: key, **config):
    """A copy whose tensors have other names (None: left out), and another config.json."""
    folder = shutil.copytree(source, folder)
    weights = str(folder / "model.safetensors")
    state = {rename(key): value for key, value in load_file(weights).items() if rename(key)}
    save_file(state, weights, metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return str(folder)


def old(key):
    return f"old.{key}"


def says(match, make, *args):
    with pytest.raises(SecError, match=match) as caught:
        make(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/no/such/folder", "./llama", "a/b/c", "here/llama", "~/llama", "pretrained/llama"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(path, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name(path)
    with pytest.raises(SecError, match=f"decoder_conf path: {path}: no such folder"):
        load_pretrained("AutoModelForCausalLM", path, "decoder_conf path")


@pytest.mark.parametrize("path", ["bert-base-chinese", "minlik/chinese-llama-7b-merged"])
def test_names_of_the_hub(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(path)
    with pytest.raises(SecError, match=f"x: '{path}' is neither a folder here nor a model that could be fetched"):
        load_pretrained("AutoModel", path, "x")


def test_an_lm_with_missing_left_over_or_misfitting_tensors_is_refused(tiny_llama, tmp_path):
    def no_head(key):
        return None if key == "lm_head.weight" else key

    says("LlamaForCausalLM.*missing: lm_head.weight;", CausalLMDecoder, change(tiny_llama, tmp_path / "a", no_head))
    names = r"missing: .*embed_tokens.* and 17 more; left over: old.* and 17 more"
    says(names, CausalLMDecoder, change(tiny_llama, tmp_path / "b", old))
    few = change(tiny_llama, tmp_path / "c", num_hidden_layers=1)
    says("left over: model.layers.1", CausalLMDecoder, few)
    wide = change(tiny_llama, tmp_path / "d", hidden_size=64)
    says(r"of another size: lm_head.weight \(400x32, should be 400x64\)", CausalLMDecoder, wide)
    tied = change(tiny_llama, tmp_path / "e", no_head, tie_word_embeddings=True)
    lm = CausalLMDecoder(tied).lm.module
    assert torch.equal(lm.lm_head.weight, lm.get_input_embeddings().weight), "a tied head is saved in no file"


@pytest.mark.parametrize("part", ["text encoder", "Q-Former", "sim1", "sim2"])
def test_a_bert_under_other_names_is_refused_in_every_role(tiny_bert, tmp_path, part):
    make = {
        "text encoder": BertTextEncoder,
        "Q-Former": lambda path: QFormer(8, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, init=path),
        "sim1": SentenceEncoder,
        "sim2": lambda path: sentence_transformer(path, "cpu"),
    }[part]
    make(tiny_bert)
    says("missing: embeddings.*left over: old.", make, change(tiny_bert, tmp_path / "b", old))


def test_what_nobody_asks_for_may_be_missing_or_left_over(tmp_path):
    """A BERT saved with the head of its pretraining has no pooler, and a head that a text encoder does without."""
    folder = tmp_path / "mlm"
    transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=20, **SMALL)).save_pretrained(folder)
    load_text_model(str(folder), "x")
    with torch.no_grad():  # and buffers that older versions saved
        state = load_file(folder / "model.safetensors")
        state["bert.embeddings.position_ids"] = torch.arange(512)[None]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    load_text_model(str(folder), "x")


GPT = dict(vocab_size=20, n_embd=32, n_layer=1, n_head=4, n_positions=16)
TRIANGLE = torch.ones(1, 1, 16, 16)
RELEASES = {  # an LM, what its release has besides, and in config.json
    "GPT-2 of 2019": (
        lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT)),
        {"h.0.attn.bias": TRIANGLE, "h.0.attn.masked_bias": torch.tensor(-1e4)},
        {"is_decoder": False, "is_encoder_decoder": False},
    ),
    "GPT-2 with a second head": (
        lambda: transformers.GPT2DoubleHeadsModel(transformers.GPT2Config(**GPT)), {}, {}
    ),
    "PPO's value head": (
        lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT)),
        {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)},
        {},
    ),
    "CodeGen": (
        lambda: transformers.CodeGenForCausalLM(transformers.CodeGenConfig(rotary_dim=4, **GPT)),
        {"transformer.h.0.attn.causal_mask": TRIANGLE},
        {},
    ),
    "XGLM": (
        lambda: transformers.XGLMForCausalLM(
            transformers.XGLMConfig(vocab_size=20, d_model=32, ffn_dim=64, num_layers=1, attention_heads=4)
        ),
        {"model.embed_positions.weights": torch.ones(18, 32)},
        {},
    ),
    "LLaMA of 2023": (
        lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=20, **SMALL)),
        {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
        {"rope_scaling": None, "torch_dtype": "float16", "pad_token_id": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RELEASES)
def test_what_released_lms_have_besides_is_no_fault(kind, tmp_path):
    make, besides, config = RELEASES[kind]
    torch.manual_seed(0)
    lm = make()
    lm.save_pretrained(tmp_path / "new")
    state = load_file(tmp_path / "new" / "model.safetensors")
    (tmp_path / "old").mkdir()
    if "h.0.attn.bias" in besides:  # OpenAI's own has no prefix
        state = {key.removeprefix("transformer."): value for key, value in state.items()}
    torch.save(state | besides, tmp_path / "old" / "pytorch_model.bin")
    settings = json.loads((tmp_path / "new" / "config.json").read_text()) | config
    (tmp_path / "old" / "config.json").write_text(json.dumps(settings))
    loaded = load_causal_lm(str(tmp_path / "old"), "x").state_dict()
    assert all(torch.equal(value, lm.state_dict()[key]) for key, value in loaded.items()), kind


def test_a_bert_of_2018_in_every_role(tiny_bert, tmp_path):
    """Gamma and beta, the heads of its pretraining, ids of positions."""
    with open(f"{tiny_bert}/config.json", encoding="utf-8") as config:
        bert = transformers.BertForPreTraining(transformers.BertConfig(**json.load(config)))
    old = shutil.copytree(tiny_bert, tmp_path / "old")
    (old / "model.safetensors").unlink()
    names = {
        key: key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta") for key in bert.state_dict()
    }
    state = {names[key]: value for key, value in bert.state_dict().items()}
    torch.save(state | {"bert.embeddings.position_ids": torch.arange(512)[None]}, old / "pytorch_model.bin")
    wanted = bert.bert.state_dict()
    found = BertTextEncoder(str(old)).lm.module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    sizes = dict(num_queries=4, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, encoder_width=24)
    norm = QFormer(10, **sizes, text_size=32, init=str(old)).qformer.layernorm.weight
    assert torch.equal(norm, wanted["embeddings.LayerNorm.weight"])
    for make in (SentenceEncoder, lambda path: sentence_transformer(path, "cpu")):
        assert make(str(old))(["语速较快"]).shape == (1, 32)


def test_an_encoder_that_was_saved_alone_is_a_text_encoder(tmp_path):
    config = transformers.T5Config(vocab_size=20, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    t5 = transformers.T5EncoderModel(config)
    t5.save_pretrained(tmp_path)
    ids = torch.arange(6)[None]
    with torch.no_grad():
        wanted, found = (one.eval()(input_ids=ids)[0] for one in (t5, load_text_model(str(tmp_path), "x")))
    assert torch.equal(found, wanted)


def test_other_libraries_get_their_loader_back(tiny_llama, tmp_path):
    broken = change(tiny_llama, tmp_path / "b", old)
    level = transformers.utils.logging.get_verbosity()
    says("missing", load_causal_lm, broken, "x")
    assert transformers.utils.logging.get_verbosity() == level
    transformers.AutoModelForCausalLM.from_pretrained(broken)


BERT = dict(vocab_size=20, **SMALL)
OTHERS = {
    "bert": (lambda: transformers.BertForMaskedLM(transformers.BertConfig(**BERT)), "bert is no causal LM.*is_decoder"),
    "bart": (
        lambda: transformers.BartForConditionalGeneration(
            transformers.BartConfig(
                vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
                encoder_attention_heads=2, decoder_attention_heads=2, pad_token_id=1,
            )
        ),
        "bart is an encoder-decoder",
    ),
    "git": (
        lambda: transformers.GitForCausalLM(
            transformers.GitConfig(
                vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                   image_size=16, patch_size=8),
                **BERT,
            )
        ),
        "git is a model of images besides text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_causal_lm_is_refused_as_one(kind, tmp_path):
    make, message = OTHERS[kind]
    make().save_pretrained(tmp_path)
    says(message, load_causal_lm, str(tmp_path), "decoder_conf path")


def test_text_encoders_by_what_they_read(tmp_path, caplog):
    config = transformers.HubertConfig(conv_dim=[8] * 7, num_conv_pos_embedding_groups=2, **SMALL)
    transformers.HubertModel(config).save_pretrained(tmp_path / "hubert")
    says("hubert reads input_values, which is not text", load_text_model, str(tmp_path / "hubert"), "x")
    OTHERS["git"][0]().save_pretrained(tmp_path / "git")
    says("git reads images", load_text_model, str(tmp_path / "git"), "x")
    OTHERS["bart"][0]().save_pretrained(tmp_path / "bart")
    assert type(load_text_model(str(tmp_path / "bart"), "x")).__name__ == "BartEncoder"
    qwen = str(make_qwen(tmp_path / "qwen"))
    with caplog.at_level(logging.WARNING):
        BertTextEncoder(qwen)
    assert "is a decoder: each token is embedded by the text before it alone" in caplog.text


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_quantised_folders_without_their_package_are_one_line(tiny_llama, tmp_path, method):
    quantised = {"quant_method": method, "bits": 4, "load_in_4bit": True}
    folder = change(tiny_llama, tmp_path / "q", quantization_config=quantised)
    says("not a transformers folder that AutoModelForCausalLM can load .*pip install", CausalLMDecoder, folder)


def test_limits_of_positions():
    def limit(name, **config):
        return position_limit(transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**config)))

    gpt = dict(vocab_size=64, n_embd=32, n_layer=1, n_head=4, n_positions=40)
    assert limit("GPT2Config", **gpt) == limit("CodeGenConfig", rotary_dim=4, **gpt) == (40, True)
    opt = dict(vocab_size=64, ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=40)
    assert limit("OPTConfig", hidden_size=32, num_hidden_layers=1, num_attention_heads=4, **opt) == (40, True)
    assert limit("LlamaConfig", vocab_size=64, max_position_embeddings=40, **SMALL) == (40, False)
    assert limit("BloomConfig", vocab_size=64, hidden_size=32, n_layer=1, n_head=4) == (None, False)

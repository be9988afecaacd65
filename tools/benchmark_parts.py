"""Random parts of given sizes in the formats of the real ones, and an experiment folder that names them."""

import json
from pathlib import Path

PROMPT = "请用一句中文简述音频里说话者的情感表现："
CJK = [chr(code) for code in range(0x4E00, 0x9FA6)]
# hubert, llama: keyword arguments of transformers' configurations; similarity is a BERT-base in both.
SIZES = {
    "tiny": {  # to try the benchmark itself
        "hubert": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
        "bridge": dict(num_layers=2, hidden_size=32, num_heads=2, intermediate_size=64, num_queries=4),
        "llama": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
        "similarity": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
        "dtype": "float32",
    },
    "small": {  # a LLaMA of 60 M parameters
        "hubert": dict(),
        "bridge": dict(num_layers=12, hidden_size=768, num_heads=12, intermediate_size=3072, num_queries=32),
        "llama": dict(hidden_size=512, num_hidden_layers=8, num_attention_heads=8, intermediate_size=1536),
        "similarity": dict(),
        "dtype": "float32",
    },
    "paper": {  # HuBERT-large, LLaMA-7B
        "hubert": dict(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            do_stable_layer_norm=True,
            feat_extract_norm="layer",
            conv_bias=True,
        ),
        "bridge": dict(num_layers=12, hidden_size=768, num_heads=12, intermediate_size=3072, num_queries=32),
        "llama": dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008),
        "similarity": dict(),
        "dtype": "bfloat16",
    },
}


def make_parts(folder: Path, size: str) -> None:
    """Write hubert/, llm/, similarity/ and exp/ (with random weights, always the same) below `folder`, once."""
    import torch

    if (folder / "exp" / "valid.loss.best.pth").is_file():
        return
    sizes = SIZES[size]
    torch.manual_seed(0)
    _hubert(folder / "hubert", sizes["hubert"])
    _llama(folder / "llm", sizes["llama"], sizes["dtype"])
    _bert(folder / "similarity", sizes["similarity"])
    _experiment(folder, sizes)


def make_hubert(folder: Path, size: str) -> None:
    """A random HuBERT alone."""
    import torch

    torch.manual_seed(0)
    _hubert(folder, SIZES[size]["hubert"])


def _hubert(folder: Path, sizes: dict) -> None:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    HubertModel(HubertConfig(**sizes)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def _llama(folder: Path, sizes: dict, dtype: str) -> None:
    """A LLaMA with 32,000 tokens: bytes, single Chinese characters and pairs of them."""
    import torch
    from sentencepiece import sentencepiece_model_pb2 as proto
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    model = proto.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    kind = proto.ModelProto.SentencePiece
    for piece, what in (("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)):
        model.pieces.add(piece=piece, score=0.0, type=what)
    for byte in range(256):
        model.pieces.add(piece=f"<0x{byte:02X}>", score=-20.0, type=kind.BYTE)
    words = CJK + [a + b for a, b in zip(CJK, CJK[1:], strict=False)]
    for at, word in enumerate(words[: 32000 - len(model.pieces)]):
        model.pieces.add(piece=word, score=-10.0 - at / 32000, type=kind.NORMAL)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    config = LlamaConfig(vocab_size=32000, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2, **sizes)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        LlamaForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(before)


def _bert(folder: Path, sizes: dict) -> None:
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CJK]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    BertModel(BertConfig(vocab_size=21128, **sizes)).save_pretrained(folder)


def _experiment(folder: Path, sizes: dict) -> None:
    """exp/ as the second training stage leaves it."""
    import torch
    import yaml

    from espnet2_secap.tasks.sec import SECTask

    exp = folder / "exp"
    exp.mkdir(exist_ok=True)
    (exp / "prompts.txt").write_text(PROMPT + "\n", encoding="utf-8")
    args = SECTask.defaults() | {
        "output_dir": str(exp),
        "model": "caption",
        "encoder": "s3prl",
        "encoder_conf": {"upstream": "hf_hubert_custom", "path": str(folder / "hubert")},
        "bridge": "qformer",
        "bridge_conf": {"cross_attention_frequency": 2, "encoder_width": sizes["bridge"]["hidden_size"]}
        | sizes["bridge"],
        "decoder": "causal_lm",
        "decoder_conf": {"path": str(folder / "llm"), "dtype": sizes["dtype"]},
        "prompts": str(exp / "prompts.txt"),
    }
    args.pop("config", None)
    (exp / "config.yaml").write_text(yaml.safe_dump(args, allow_unicode=True, sort_keys=False), encoding="utf-8")
    model, _ = SECTask.build_model_from_file(exp / "config.yaml")
    torch.save({key: value.clone() for key, value in model.state_dict().items()}, exp / "valid.loss.best.pth")

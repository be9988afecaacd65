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


def make_small_parts(folder: Path, size: str, device: str) -> None:
    """hubert/, llm/ and similarity/ alone, made on `device`: at the paper's size minutes faster there than on a CPU."""
    import torch

    done = folder / ".parts"
    if done.is_file():
        return
    torch.manual_seed(0)
    with torch.device(device):
        _hubert(folder / "hubert", SIZES[size]["hubert"])
        _llama(folder / "llm", SIZES[size]["llama"], SIZES[size]["dtype"])
        _bert(folder / "similarity", SIZES[size]["similarity"])
    done.touch()


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


# What follows is all that the benchmarks know of models.


def build_model(folder: Path, size: str, model: str, device: str, dtype: str | None = None):
    """An untrained model that reads stored features, its frozen parts from `folder`.

    Args:
        folder: of `make_parts` or `make_small_parts`.
        size: key of SIZES.
        model: align, caption, distill or prefer.
        device: cpu, cuda or cuda:N.
        dtype: of the decoder's weights; as SIZES has it if none.
    """
    import argparse

    from espnet2_secap.tasks.sec import SECTask

    bridge = SIZES[size]["bridge"]
    conf = {
        "model": model,
        "encoder": "stored",
        "encoder_conf": {"input_size": feats_width(size)},
        "bridge": "qformer",
        "bridge_conf": {"cross_attention_frequency": 2, "encoder_width": bridge["hidden_size"]} | bridge,
    }
    if model == "align":
        conf |= {"text_encoder": "bert", "text_encoder_conf": {"path": str(folder / "similarity")}}
    else:
        conf |= {"decoder": "causal_lm"}
        conf["decoder_conf"] = {"path": str(folder / "llm"), "dtype": dtype or SIZES[size]["dtype"]}
    return SECTask.build_model(argparse.Namespace(**(SECTask.defaults() | conf))).to(device)


def feats_width(size: str) -> int:
    """Values per stored frame."""
    return SIZES[size]["hubert"].get("hidden_size", 768)


def language_model(model):
    """transformers' LM inside a captioning model."""
    return model.decoder.lm.module


def end_id(model) -> int:
    """The token that ends a caption."""
    return model.template.end


def make_batch(size: str, seconds: list[float], device: str, seed: int = 0) -> dict:
    """Random stored features (50 a second), captions of 20 tokens, texts of 15, instructions of 25, two emotions; pairs
    of captions, with the same reference for all; what a teacher reads, 15 tokens of text and of clues."""
    import torch

    noise = torch.Generator().manual_seed(seed)
    frames = [max(int(50 * s), 1) for s in seconds]
    rows = [torch.randn(n, feats_width(size), generator=noise) for n in frames]
    data = {"speech": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), "speech_lengths": torch.tensor(frames)}
    lengths = {"caption": 20, "text": 15, "instruction": 25, "chosen": 20, "rejected": 20}
    for name, length in (lengths | {"teacher_transcript": 15, "teacher_clues": 15}).items():
        data[name] = torch.randint(300, 20000, (len(rows), length), generator=noise)
        data[f"{name}_lengths"] = torch.full((len(rows),), length)
    data["emotion"] = torch.arange(len(rows)) % 2
    data["pair_reference"] = torch.full((len(rows), 2), -100.0)
    return {name: value.to(device) for name, value in data.items()}


def speech_and_instruction(batch: dict) -> dict:
    """What captioning takes of a batch."""
    return {name: batch[name] for name in ("speech", "speech_lengths", "instruction", "instruction_lengths")}


def generate(model, batch: dict, **options) -> list[list[list[int]]]:
    """Captions as token ids: utterances, candidates, tokens; options are fields of DecodingOptions."""
    from espnet2_secap.decoder.options import DecodingOptions

    return model.generate(DecodingOptions(**options), **speech_and_instruction(batch))[0]


def prefix_embeddings(model, batch: dict):
    """What the LM reads before the caption: embeddings (B, L, H) and mask (B, L)."""
    return model.decoder.join(model.segments(**speech_and_instruction(batch)))


def generate_one_by_one(model, batch: dict, candidates: int, beam_size: int, eos: int, **options) -> list[list[int]]:
    """The published way for one utterance: transformers' generate again and again, the prefix read anew each time.

    Args:
        model: captioning model.
        batch: of `make_batch`, one utterance.
        candidates: how often.
        beam_size: beams of each search.
        eos: id that ends a caption.
        options: of transformers' generate.
    """
    embeddings, mask = prefix_embeddings(model, batch)
    return [
        language_model(model)
        .generate(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            do_sample=True,
            num_beams=beam_size,
            eos_token_id=eos,
            pad_token_id=eos,
            **options,
        )[0]
        .tolist()
        for _ in range(candidates)
    ]

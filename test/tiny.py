"""Tiny random parts in the formats of the real ones, for tests."""

from pathlib import Path

TEXTS = [
    "语速较快，声音高亢，情绪中带着愤怒。",
    "说话人语气平静，音量适中。",
    "声音低沉，语速缓慢，听起来很悲伤。",
    "语调上扬，心情愉快，十分开心。",
    "请用一句中文描述说话人的情感。",
    "今天下午三点我们在图书馆门口见面。",
]


def make_llama(folder: Path, hidden_size: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A random LLaMA with a sentencepiece tokenizer.model and no tokenizer.json."""
    import sentencepiece
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=360,
        byte_fallback=True,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_bert(folder: Path, hidden_size: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A random BERT with a vocab.txt of characters."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    characters = sorted({c for text in TEXTS for c in text})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden_size,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def make_bart(folder: Path, llama: str, model_type: str = "bart", **sizes) -> Path:
    """A random encoder-decoder, by default a BART, with the tokenizer of `make_llama`."""
    import shutil

    import torch
    import transformers

    ids = dict(vocab_size=400, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2)
    config = transformers.AutoConfig.for_model(model_type, **(ids | (sizes or BART)))
    torch.manual_seed(0)
    lm = transformers.AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():  # what is drawn with 0.02 hardly depends on anything
        for p in lm.parameters():
            if p.dim() > 1 and p.std() < 0.1:
                p.mul_(5)
        if hasattr(lm, "final_logits_bias"):
            lm.final_logits_bias.normal_()
    lm.save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        if (Path(llama) / name).exists():
            shutil.copy(Path(llama) / name, folder / name)
    return folder


BART = dict(
    d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
)  # fmt: skip


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_qwen(folder: Path, chat_template: str | None = None) -> Path:
    """A random LM in Qwen2's layout: no BOS, several ids that end a text, decoding settings of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = chat_template
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    config = Qwen2Config(vocab_size=len(fast) + 9, num_key_value_heads=2, initializer_range=0.2, **sizes)
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=[1, 0], do_sample=True, temperature=0.7, top_k=20)
    model.save_pretrained(folder)
    return folder


def make_gpt2(folder: Path, n_positions: int = 40) -> Path:
    """A random Chinese GPT-2: BERT's tokenizer, and a table of positions."""
    import torch
    from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True, exist_ok=True)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({c for text in TEXTS for c in text})]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = dict(n_embd=32, n_layer=1, n_head=4, n_positions=n_positions)
    ids = dict(bos_token_id=2, eos_token_id=3)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(vocab), **sizes, **ids)).save_pretrained(folder)
    return folder

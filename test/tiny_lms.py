"""Tiny random causal LMs of many architectures of transformers, each with what sets it apart from LLaMA."""

from __future__ import annotations

import torch

WINDOW = 12  # longer than what an LM is tried out on, shorter than the prefixes and captions of the tests
VOCABULARY = 400  # not less than the tokenizer of tiny.make_llama
SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
GROUPED = dict(**SIZES, num_key_value_heads=2)
HEADS = dict(**GROUPED, head_dim=8)
EXPERTS = dict(**GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
LOCAL = dict(**GROUPED, num_local_experts=4, num_experts_per_tok=2)
GPT = dict(n_embd=32, n_layer=2, n_head=4, n_positions=128)
LATENT = dict(**SIZES, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8)
ROUTED = dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, n_group=1, topk_group=1)
MIXED = ["linear_attention", "full_attention"]
LINEAR = dict(
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    layer_types=MIXED,
    shared_expert_intermediate_size=32,
)
MAMBA2 = dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, mamba_chunk_size=4, mamba_n_groups=1, mamba_expand=2)
BART = dict(d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=64, max_position_embeddings=128)

KINDS = {  # name: model type, what its configuration sets
    "llama": ("llama", GROUPED),
    "arcee": ("arcee", GROUPED),
    "apertus": ("apertus", GROUPED),
    "bloom, ALiBi": ("bloom", dict(hidden_size=32, n_layer=2, n_head=4)),
    "codegen": ("codegen", GPT | dict(rotary_dim=4)),
    "cohere, scaled logits": ("cohere", GROUPED),
    "cohere2, sliding window": ("cohere2", GROUPED | dict(sliding_window=WINDOW, sliding_window_pattern=2)),
    "deepseek_v2, MLA": ("deepseek_v2", LATENT | ROUTED),
    "deepseek_v3, MLA": ("deepseek_v3", LATENT | ROUTED | dict(first_k_dense_replace=1)),
    "diffllama": ("diffllama", GROUPED),
    "ernie4_5": ("ernie4_5", HEADS),
    "exaone4": ("exaone4", GROUPED | dict(sliding_window=WINDOW)),
    "falcon": ("falcon", SIZES),
    "falcon, ALiBi": ("falcon", SIZES | dict(alibi=True)),
    "gemma, scaled embeddings": ("gemma", HEADS),
    "gemma2, sliding window and soft caps": ("gemma2", HEADS | dict(sliding_window=WINDOW)),
    "gemma3, sliding window": (
        "gemma3_text",
        HEADS | dict(sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"]),
    ),
    "glm": ("glm", HEADS),
    "glm4": ("glm4", HEADS),
    "gpt2, absolute positions": ("gpt2", GPT),
    "gpt_bigcode, multi-query": ("gpt_bigcode", GPT),
    "gpt_neo, local attention": (
        "gpt_neo",
        dict(
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=WINDOW,
            max_position_embeddings=128,
        ),
    ),
    "gpt_neox": ("gpt_neox", SIZES),
    "gpt_oss, sliding window and sinks": (
        "gpt_oss",
        HEADS | dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW),
    ),
    "gptj": ("gptj", GPT | dict(rotary_dim=4)),
    "granite": ("granite", GROUPED | dict(embedding_multiplier=3.0, logits_scaling=2.0)),
    "granitemoe": ("granitemoe", LOCAL),
    "helium": ("helium", HEADS),
    "hunyuan": ("hunyuan_v1_dense", HEADS),
    "llama4, chunks of attention": (
        "llama4_text",
        HEADS | dict(intermediate_size_mlp=64, num_local_experts=2, attention_chunk_size=WINDOW),
    ),
    "minicpm3, MLA": ("minicpm3", LATENT),
    "mistral, sliding window": ("mistral", GROUPED | dict(sliding_window=WINDOW)),
    "mixtral": ("mixtral", LOCAL),
    "modernbert-decoder, local attention": ("modernbert-decoder", SIZES | dict(local_attention=WINDOW)),
    "mpt, ALiBi": ("mpt", dict(d_model=32, n_heads=4, n_layers=2, max_seq_len=128)),
    "nemotron": ("nemotron", GROUPED),
    "olmo": ("olmo", GROUPED),
    "olmo2": ("olmo2", GROUPED),
    "olmo3, sliding window": ("olmo3", GROUPED | dict(sliding_window=WINDOW)),
    "olmoe": ("olmoe", GROUPED | dict(num_experts=4, num_experts_per_tok=2)),
    "openai-gpt": ("openai-gpt", GPT),
    "opt, absolute positions": (
        "opt",
        dict(hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32),
    ),
    "opt, projected embeddings": (
        "opt",
        dict(hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=16),
    ),
    "persimmon": ("persimmon", SIZES),
    "phi": ("phi", GROUPED),
    "phi3": ("phi3", GROUPED | dict(pad_token_id=0, sliding_window=WINDOW)),
    "phimoe": ("phimoe", LOCAL),
    "qwen2": ("qwen2", GROUPED),
    "qwen2, sliding window": (
        "qwen2",
        GROUPED | dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    ),
    "qwen2_moe": ("qwen2_moe", EXPERTS | dict(shared_expert_intermediate_size=32)),
    "qwen3": ("qwen3", HEADS),
    "qwen3_moe": ("qwen3_moe", EXPERTS | dict(head_dim=8)),
    "smollm3": ("smollm3", GROUPED | dict(pad_token_id=0)),
    "stablelm": ("stablelm", GROUPED),
    "starcoder2, sliding window": ("starcoder2", GROUPED | dict(sliding_window=WINDOW)),
    "xglm, positions from the mask": ("xglm", dict(d_model=32, ffn_dim=64, num_layers=2, attention_heads=4)),
    "biogpt, absolute positions": ("biogpt", SIZES),
    "ctrl, sinusoids": ("ctrl", GPT | dict(dff=64)),
    "bart's decoder, absolute positions": ("bart", BART),
    "bamba, states": ("bamba", GROUPED | MAMBA2 | dict(attn_layer_indices=[1])),
    "falcon_h1, states": ("falcon_h1", HEADS | MAMBA2 | dict(mamba_d_ssm=64)),
    "falcon_mamba, states": ("falcon_mamba", dict(hidden_size=32, num_hidden_layers=2, state_size=8)),
    "granitemoehybrid, states": (
        "granitemoehybrid",
        LOCAL | MAMBA2 | dict(layer_types=["mamba", "attention"], shared_intermediate_size=32),
    ),
    "jamba, states": (
        "jamba",
        LOCAL
        | dict(
            num_experts=2,
            mamba_d_state=8,
            mamba_dt_rank=4,
            attn_layer_period=2,
            attn_layer_offset=1,
            use_mamba_kernels=False,
        ),
    ),
    "lfm2, short convolutions": ("lfm2", GROUPED | dict(layer_types=["conv", "full_attention"])),
    "mamba, states": ("mamba", dict(hidden_size=32, num_hidden_layers=2, state_size=8)),
    "mamba2, states": (
        "mamba2",
        dict(hidden_size=32, num_hidden_layers=2, state_size=8, num_heads=8, head_dim=8, n_groups=1, chunk_size=4),
    ),
    "minimax, lightning attention": ("minimax", LOCAL | dict(head_dim=8, block_size=4, layer_types=MIXED)),
    "nemotron_h, states": (
        "nemotron_h",
        HEADS
        | dict(
            hybrid_override_pattern="M*",
            mamba_num_heads=8,
            mamba_head_dim=8,
            ssm_state_size=8,
            n_groups=1,
            chunk_size=4,
        ),
    ),
    "qwen3_next, states": ("qwen3_next", EXPERTS | LINEAR | dict(head_dim=8)),
    "qwen3_5, states": ("qwen3_5_text", HEADS | LINEAR),
    "recurrent_gemma, states": (
        "recurrent_gemma",
        GROUPED | dict(attention_window_size=WINDOW, block_types=["recurrent", "attention"], lru_width=32),
    ),
    "rwkv, states": (
        "rwkv",
        dict(hidden_size=32, attention_hidden_size=32, intermediate_size=64, num_hidden_layers=2, context_length=128),
    ),
    "zamba, states": (
        "zamba",
        GROUPED
        | dict(
            mamba_d_state=8,
            mamba_dt_rank=4,
            n_mamba_heads=2,
            attn_layer_period=2,
            attn_layer_offset=1,
            use_mamba_kernels=False,
            num_hidden_layers=6,
        ),
    ),
    "zamba2, states": (
        "zamba2",
        SIZES
        | dict(
            mamba_d_state=8,
            mamba_headdim=8,
            n_mamba_heads=8,
            mamba_ngroups=1,
            chunk_size=4,
            layers_block_type=["linear_attention", "hybrid"],
            num_mem_blocks=1,
        ),
    ),
}
REFUSED = {  # name: model type, what its configuration sets, the reason
    "gemma3n, embeddings of each layer": (
        "gemma3n_text",
        HEADS
        | dict(
            hidden_size_per_layer_input=8, vocab_size_per_layer_input=VOCABULARY, laurel_rank=4, num_kv_shared_layers=0
        ),
        "token ids beside",
    ),
    "cpmant": (
        "cpmant",
        dict(hidden_size=32, dim_ff=64, num_hidden_layers=2, num_attention_heads=4, dim_head=8),
        "does not read embeddings",
    ),
    "xlm, both directions": ("xlm", dict(emb_dim=32, n_layers=2, n_heads=4), "is no causal LM: its tokens see"),
    "gemma3, both directions": ("gemma3_text", HEADS | dict(use_bidirectional_attention=True), "is no causal LM"),
}


def tiny_lm(kind: str):
    """A random LM of that name."""
    import transformers

    model_type, sizes, *_ = (KINDS | REFUSED)[kind]
    special = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    config = transformers.AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **(special | sizes))
    torch.manual_seed(0)
    lm = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    lm.generation_config = transformers.GenerationConfig()
    with torch.no_grad():  # what is drawn with 0.02 hardly depends on anything
        for name, p in lm.named_parameters():
            if p.dim() > 1 and "A_log" not in name:
                p.mul_(5)
            if name.endswith("correct_output_scale"):  # Gemma 3n begins without the embeddings of its layers
                p.fill_(1.0)
    return lm

"""Kind: weights that a library changes behind our back. A LoRA model is the same after saving and loading."""

import pytest
import torch
from tiny import make_llama, make_qwen

from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.lora import OPTIONS, with_lora
from espnet2_secap.model.checkpoint import leave_out_frozen
from espnet2_secap.text.template import Segment

PLAIN = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
INITS = (True, False, "gaussian", "orthogonal", "mica", "pissa", "pissa_niter_2", "olora")


@pytest.fixture(scope="module")
def llms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    return {"llama": str(make_llama(folder / "llama")), "qwen": str(make_qwen(folder / "qwen"))}


def build(path, seed, options):
    torch.manual_seed(seed)
    model = torch.nn.Module()
    model.decoder = CausalLMDecoder(path, lora=options).eval()
    leave_out_frozen(model)
    return model


def log_probs(model):
    ids = [torch.tensor([[5, 6, 7, 9]]), torch.tensor([[7, 8, 11]])]
    prefix, caption = (Segment(one, torch.ones_like(one, dtype=torch.bool)) for one in ids)
    return model.decoder.log_probs([prefix], caption)


@torch.no_grad()
def check_saved_is_loaded(path, options):
    """Trained on, saved, and loaded into a model built with another seed; returns the state."""
    first, second = build(path, 0, options), build(path, 7, options)
    for p in first.parameters():
        p.add_(0.1 * torch.randn_like(p) * p.requires_grad)
    state = first.state_dict()
    trained = {name for name, p in first.named_parameters() if p.requires_grad}
    assert trained and trained <= set(state)
    second.load_state_dict(state)
    assert torch.equal(log_probs(first), log_probs(second))
    return state


@pytest.mark.parametrize("init", INITS)
def test_every_init_is_the_same_after_loading(llms, init):
    state = check_saved_is_loaded(llms["llama"], PLAIN | {"init_lora_weights": init})
    changed = [key for key in state if ".base_layer." in key]
    assert bool(changed) == (init in INITS[5:]), "frozen weights are in a checkpoint only where the init changes them"


def test_the_inits_are_all_that_peft_knows():
    from typing import get_args, get_type_hints

    from peft import LoraConfig

    known = get_args(get_type_hints(LoraConfig)["init_lora_weights"])
    names = {name for one in known for name in get_args(one)} - {"pissa_niter_[number of iters]"}
    assert names <= {*INITS, "eva", "corda", "lora_ga", "loftq"}, "a new one: test it above, or refuse it"
    assert set(OPTIONS) <= set(LoraConfig.__dataclass_fields__)


@pytest.mark.parametrize("init", ["eva", "corda", "lora_ga"])
def test_inits_by_data_are_refused(llms, init):
    with pytest.raises(SecError, match=f"init_lora_weights='{init}': needs a pass over the data"):
        build(llms["llama"], 0, PLAIN | {"init_lora_weights": init})


@pytest.mark.parametrize(
    "llm, options",
    [
        ("llama", {"use_dora": True}),
        ("llama", {"use_rslora": True, "lora_dropout": "1e-1"}),
        ("llama", {"modules_to_save": ["lm_head", "embed_tokens"]}),
        ("llama", {"trainable_token_indices": [1, 2]}),
        ("llama", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
        ("llama", {"layers_to_transform": [0]}),
        ("llama", {"layer_replication": [[0, 2], [1, 2]]}),
        ("llama", {"target_modules": "all-linear", "init_lora_weights": "pissa_niter_1"}),
        ("llama", {"target_modules": ["lm_head", "embed_tokens"], "init_lora_weights": "pissa"}),
        ("qwen", {"bias": "all"}),
        ("qwen", {"lora_bias": True}),
    ],
)
def test_all_that_lora_trains_is_saved(llms, llm, options):
    check_saved_is_loaded(llms[llm], PLAIN | options)


@pytest.mark.parametrize(
    "options, message",
    [
        (5, "=5: expected options"),
        ({"r": "8"}, "r='8': must be a whole number above 0"),
        ({"r": 0}, "r=0: must be"),
        ({"r": True}, "r=True: must be"),
        ({"lora_alpha": "much"}, "lora_alpha='much': must be a number"),
        ({"lora_dropout": 1.0}, "lora_dropout=1.0: must be from 0 to below 1"),
        ({"use_dora": "yes"}, "use_dora='yes': must be true or false"),
        ({"target_modules": ["q_proj", "v_porj"]}, "no module 'v_porj'; it has .*v_proj"),
        ({"target_modules": "nothing.*"}, "peft refuses it: Target modules nothing"),
        ({"target_modules": []}, r"target_modules=\[\]: must be a list of the names"),
        ({"modules_to_save": "lm_head"}, "modules_to_save='lm_head': must be a list"),
        ({"modules_to_save": ["head"]}, "no module 'head'"),
        ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern=.*whole numbers above 0"),
        ({"rank_pattern": {"k_proj": 2}}, "'k_proj' is none of the modules that get LoRA"),
        ({"loftq_config": 4}, "loftq_config=4: must be options"),
        ({"init_lora_weights": "loftq"}, "peft refuses it: bitsandbytes is not available"),
        ({"bias": "some"}, "peft refuses it: Requested bias: some"),
        ({"init_lora_weights": "xavier"}, "peft refuses it: Unknown initialization"),
        ({"init_lora_weights": 1.5}, "init_lora_weights=1.5: must be true, false"),
        ({"layers_to_transform": [9]}, "peft refuses it"),
        ({"trainable_token_indices": [10**6]}, "peft refuses it: index 1000000"),
        ({"alora_invocation_tokens": [1]}, "'alora_invocation_tokens' is no option .* that"),
        ({"rank": 2}, "'rank' is no option .*known: r, lora_alpha"),
    ],
)
def test_options_of_a_wrong_type_or_name_are_one_line(llms, options, message):
    given = PLAIN | options if isinstance(options, dict) else options
    with pytest.raises(SecError, match=f"^decoder_conf: lora.*?{message}") as caught:
        build(llms["llama"], 0, given)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_peft_builds_and_cannot_run_is_refused(tmp_path):
    """OLoRA takes GPT-2's transposed layers for plain ones."""
    from tiny import make_gpt2

    path = str(make_gpt2(tmp_path))
    check_saved_is_loaded(path, {"r": 2, "target_modules": ["c_attn"], "init_lora_weights": "pissa_niter_2"})
    with pytest.raises(SecError, match="lora: the LM does not run with it"):
        build(path, 0, {"r": 2, "target_modules": ["c_attn"], "init_lora_weights": "olora"})


def test_it_is_counted_without_weights(llms):
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(llms["llama"]))
        made = with_lora(lm, PLAIN | {"init_lora_weights": "pissa"})
    assert sum(p.numel() for p in made.parameters() if p.requires_grad) == 2 * 2 * 2 * 4 * 32

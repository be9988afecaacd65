"""LoRA by peft: its options checked, and which tensors of the result a checkpoint has to hold."""

import re
from collections.abc import Mapping

import torch

from espnet2_secap.errors import SecError, shorten

BOOLS = ("fan_in_fan_out", "use_rslora", "use_dora", "lora_bias", "ensure_weight_tying")
# Options of peft.LoraConfig that work here; others need token ids, data, or another training loop.
OPTIONS = (
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "modules_to_save", "bias", *BOOLS,
    "init_lora_weights", "loftq_config", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "trainable_token_indices", "layer_replication",
)  # fmt: skip
NEEDS_DATA = ("eva", "corda", "lora_ga")  # inits by a pass over the training data
KEEPS_BASE = (True, False, "gaussian", "orthogonal", "mica")  # inits that leave the frozen weights alone


def with_lora(lm: torch.nn.Module, options: Mapping, task: str = "CAUSAL_LM") -> torch.nn.Module:
    """An LM with LoRA's trained tensors; `options` of peft.LoraConfig, `task` of peft.TaskType.

    Raises:
        SecError: peft is missing; an option is unknown, of the wrong type, or names modules that the LM has not.
    """
    try:
        from peft import LoftQConfig, LoraConfig, get_peft_model
    except ImportError as err:
        raise SecError("decoder_conf: lora needs the package peft: pip install 'espnet2_secap[lora]'") from err
    options = _checked(options)
    names = [name for name, _ in lm.named_modules() if name]
    for key in ("target_modules", "exclude_modules", "modules_to_save"):
        for wanted in options.get(key) or () if not isinstance(options.get(key), str) else ():
            if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
                known = sorted({name.split(".")[-1] for name, one in lm.named_modules() if hasattr(one, "weight")})
                raise _error(key, options[key], f"the LM has no module {wanted!r}; it has {', '.join(known)}")
    if any(p.is_meta for p in lm.parameters()):  # only counted
        options["init_lora_weights"] = False
    try:
        if options.get("init_lora_weights") == "loftq":
            options["loftq_config"] = LoftQConfig(**options.get("loftq_config", {}))
        model = get_peft_model(lm, LoraConfig(task_type=task, **options))
    except Exception as err:  # peft checks little itself: an option of a wrong value can end in any error
        raise SecError(f"decoder_conf: lora: peft refuses it: {shorten(' '.join(str(err).split()), 300)}") from err
    targets = [name.split("model.", 1)[-1] for name, one in model.named_modules() if hasattr(one, "lora_A")]
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in options.get(key) or ():
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in targets):
                raise _error(key, options[key], f"{pattern!r} is none of the modules that get LoRA")
    return model


def from_folder(model: torch.nn.Module, before: set[int], options: Mapping) -> set[str]:
    """The names in a LoRA model's state of the tensors that are still what the LM's folder has.

    Args:
        model: what `with_lora` gave.
        before: ids of the LM's tensors before it; what peft adds is none of them.
        options: of `with_lora`. PiSSA, OLoRA, LoftQ and the like change the frozen weights of the layers that they
            adapt, some at random: these are no longer the folder's, and a checkpoint has to hold them.
    """
    base = options.get("init_lora_weights", True) not in KEEPS_BASE
    state = model.state_dict(keep_vars=True)
    changed = {id(value) for name, value in state.items() if base and ".base_layer." in name}
    return {name for name, value in state.items() if id(value) in before - changed}


def _error(key: str, value, wanted: str) -> SecError:
    return SecError(f"decoder_conf: lora: {key}={shorten(repr(value))}: {wanted}")


def _checked(options: Mapping) -> dict:
    """The options, their types checked; numbers that YAML reads as text (1e-1) are numbers."""
    if not isinstance(options, Mapping):
        raise SecError(f"decoder_conf: lora={options!r}: expected options, such as {{r: 8, target_modules: [q_proj]}}")
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise SecError(
            f"decoder_conf: lora: {unknown[0]!r} is no option of peft's LoraConfig, or one that does not work here;"
            f" known: {', '.join(OPTIONS)}"
        )
    options = dict(options)
    for key, value in options.items():
        if key == "r" and not (type(value) is int and value > 0):
            raise _error(key, value, "must be a whole number above 0")
        if key in ("lora_alpha", "lora_dropout"):
            options[key] = value = _number(key, value)
            if not (0 < value if key == "lora_alpha" else 0 <= value < 1):
                raise _error(key, value, "must be above 0" if key == "lora_alpha" else "must be from 0 to below 1")
        if key in BOOLS and not isinstance(value, bool):
            raise _error(key, value, "must be true or false")
        if key in ("rank_pattern", "alpha_pattern") and not (
            isinstance(value, Mapping) and all(type(n) is int and n > 0 for n in value.values())
        ):
            raise _error(key, value, "must be modules with whole numbers above 0, such as {q_proj: 4}")
        if key == "loftq_config" and not isinstance(value, Mapping):
            raise _error(key, value, "must be options, such as {loftq_bits: 4}")
        if key in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern") and value is not None:
            one = isinstance(value, str) and key != "modules_to_save"
            if not one and not (isinstance(value, (list, tuple)) and all(isinstance(n, str) for n in value) and value):
                raise _error(key, value, "must be a list of the names of modules, such as [q_proj, v_proj]")
    init = options.get("init_lora_weights", True)
    if init in NEEDS_DATA:
        raise _error("init_lora_weights", init, "needs a pass over the data, which is not done here; use pissa or true")
    if not isinstance(init, (bool, str)):
        raise _error("init_lora_weights", init, "must be true, false, gaussian, pissa, olora, loftq, orthogonal, ...")
    return options


def _number(key: str, value) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _error(key, value, "must be a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise _error(key, value, "must be a number")
    return value

"""What a checkpoint holds, and whether one fits a model."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from espnet2_secap.errors import SecError, listed
from espnet2_secap.safe_load import reason


def leave_out_frozen(model: torch.nn.Module) -> None:
    """Make `model.state_dict()` hold trained tensors only, and loading such a state complete.

    Left out is what is frozen inside modules marked `is_named_pretrained`: config.yaml names where that comes from.
    Where such a module says `from_folder`, what is frozen and not in it (LoRA's own, what PiSSA changed) is kept.
    So model files and checkpoints hold what is trained, and are loaded strictly all the same.
    """

    def named() -> set[str]:
        keys = set()
        for prefix, module in model.named_modules():
            if getattr(module, "is_named_pretrained", False):
                kept = {name for name, p in module.named_parameters() if p.requires_grad}
                given = getattr(module, "from_folder", None)
                kept.update(key for key in _plain_keys(module) if given is not None and key not in given)
                keys.update(f"{prefix}.{key}" for key in _plain_keys(module) if key not in kept)
        return keys

    def drop(module, state, prefix, local_metadata):
        for key in named():
            state.pop(prefix + key, None)

    def forgive(module, incompatible):
        left_out = named()
        incompatible.missing_keys[:] = [key for key in incompatible.missing_keys if key not in left_out]

    model.register_state_dict_post_hook(drop)
    model.register_load_state_dict_post_hook(forgive)


def _plain_keys(module: torch.nn.Module) -> list[str]:
    return list(module.state_dict(keep_vars=True))


def read_tensors(path: str | Path, kind: str) -> object:
    """What `torch.load` reads from a file without running code from it; `kind` of file, for the error."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SecError):  # within safe_load.tensors_only torch.load itself says what is wrong
        raise
    except Exception as err:  # a broken file can end in almost any
        raise SecError(f"{path}: not a {kind}: {reason(err)}") from err


def load_state(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a model file (`*epoch.pth`, `valid.*.best.pth`, averages); runs no code from it.

    Raises:
        SecError: no such file, something else than tensors, or values that are not finite.
    """
    try:
        state = read_tensors(path, "model file of this project")
    except FileNotFoundError as err:
        raise SecError(f"{path}: no such model file; train that stage first") from err
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SecError(f"{path}: holds something else than a model's tensors (checkpoint.pth is for resuming only)")
    bad = not_finite(state)
    if bad:
        raise SecError(
            f"{path}: its training has diverged: values that are not finite in {bad}; train again with a lower"
            " learning rate, or use another model file"
        )
    return state


def not_finite(state: Mapping[str, torch.Tensor]) -> str:
    """The tensors with values that are not finite, for a message; empty if there are none."""
    bad = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    return listed(bad, 3)


def init_model(model: torch.nn.Module, source: str) -> list[str]:
    """Start trained tensors of a model from a model file of whatever stage.

    Args:
        model: is changed.
        source: `FILE`, or `FILE:part,part` with the names that tensors begin with (bridge, projection, ...). Without
            parts: all that the file and the model have in common.

    Returns:
        the parts that were loaded.

    Raises:
        SecError: no such part, or tensors are absent, left over or of another size; the first ones are named.
    """
    path, parts = split_source(source)
    found, wanted = load_state(path), model.state_dict()
    there, here = (list(dict.fromkeys(key.split(".")[0] for key in state)) for state in (found, wanted))
    parts_are_all = parts is None
    if parts_are_all:
        parts = [part for part in here if part in there]
    for part in parts:
        if part not in there or part not in here:
            side, names = ("the file", there) if part not in there else ("the model", here)
            raise SecError(f"--init_model {source}: {side} has no part {part!r}; it has {', '.join(names)}")
    if not parts:
        raise SecError(f"--init_model {source}: has {', '.join(there)}, the model {', '.join(here)}: nothing in common")
    reads_text = getattr(model, "text_encoder", None) is not None
    if parts_are_all and reads_text and "bridge" in parts and "text_encoder" in here and "text_encoder" not in there:
        raise SecError(
            f"--init_model {source}: has a bridge and no text_encoder, which this model reads text through; start from"
            f" a model of the first stage, or name the parts to start from ({path}:{','.join(parts)})"
        )
    branch = () if reads_text else getattr(getattr(model, "bridge", None), "text_branch", ())
    only_text = tuple(f"bridge.{name}" for name in branch)
    prefixes = tuple(f"{part}." for part in parts)
    source_state, target = (
        {key: value for key, value in state.items() if key.startswith(prefixes)} for state in (found, wanted)
    )
    # What only text goes through is left out where the model reads no text.
    faults = [f"{key} is absent" for key in target if key not in source_state and not key.startswith(only_text)]
    faults += [f"{key} is left over" for key in source_state if key not in target and not key.startswith(only_text)]
    faults += [
        f"{key} is {tuple(source_state[key].shape)} there and {tuple(value.shape)} here"
        for key, value in target.items()
        if key in source_state and source_state[key].shape != value.shape
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise SecError(
            f"{path}: does not fit this configuration: {'; '.join(faults[:3])}{more};"
            f" use the same {', '.join(parts)} and sizes in both"
        )
    model.load_state_dict({key: value for key, value in source_state.items() if key in target}, strict=False)
    return parts


def split_source(source: str) -> tuple[str, list[str] | None]:
    """`FILE:part,part` -> file and parts; None without parts."""
    path, colon, parts = source.rpartition(":")
    if colon and not Path(source).exists() and re.fullmatch(r"\w+(,\w+)*", parts):
        return path, parts.split(",")
    return source, None

"""What a checkpoint holds, and whether one fits a model."""

from pathlib import Path

import torch

from espnet2_secap.errors import SecError
from espnet2_secap.safe_load import reason


def leave_out_frozen(model: torch.nn.Module) -> None:
    """Make `model.state_dict()` hold trained tensors only, and loading such a state complete.

    Left out is what is frozen inside modules marked `is_named_pretrained`: config.yaml names where that comes from.
    So model files and checkpoints hold what is trained, and are loaded strictly all the same.
    """

    def named() -> set[str]:
        keys = set()
        for prefix, module in model.named_modules():
            if getattr(module, "is_named_pretrained", False):
                trained = {name for name, p in module.named_parameters() if p.requires_grad}
                keys.update(f"{prefix}.{key}" for key in _plain_keys(module) if key not in trained)
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
    """The tensors of a model file (`*epoch.pth`, `valid.*.best.pth`, averages); runs no code from it."""
    try:
        state = read_tensors(path, "model file of this project")
    except FileNotFoundError as err:
        raise SecError(f"{path}: no such model file; train that stage first") from err
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SecError(f"{path}: holds something else than a model's tensors (checkpoint.pth is for resuming only)")
    return state


def init_from_align(model: torch.nn.Module, path: str | Path) -> None:
    """Start the encoder's and the bridge's trained tensors from a model file of the first stage.

    Raises:
        SecError: keys are absent or left over, or sizes differ; the first ones are named.
    """
    parts = ("encoder.", "bridge.")
    source = {key: value for key, value in load_state(path).items() if key.startswith(parts)}
    target = {key: value for key, value in model.state_dict().items() if key.startswith(parts)}
    faults = [f"{key} is absent" for key in target if key not in source]
    faults += [f"{key} is left over" for key in source if key not in target]
    faults += [
        f"{key} is {tuple(source[key].shape)} there and {tuple(value.shape)} here"
        for key, value in target.items()
        if key in source and source[key].shape != value.shape
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise SecError(
            f"{path}: does not fit this configuration: {'; '.join(faults[:3])}{more};"
            " use the same encoder, bridge and bridge_conf in both stages"
        )
    model.load_state_dict(source, strict=False)

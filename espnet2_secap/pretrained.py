"""Loading of pretrained transformers parts, by folder or hub name, with errors that say what to do."""

import re
from pathlib import Path

import torch

from espnet2_secap.errors import SecError
from espnet2_secap.safe_load import tensors_only


def load_pretrained(auto_class: str, path: str, what: str, **kwargs):
    """`transformers.<auto_class>.from_pretrained(path)`.

    Args:
        auto_class: name of a class of transformers, such as "AutoModelForCausalLM".
        path: local folder, or name on the model hub.
        what: the option that named it, for the error.
        kwargs: passed on.

    Raises:
        SecError: nothing there, or not of this kind.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()  # of reading weights, in the midst of captions
    if not Path(path).exists() and not is_hub_name(path):
        raise SecError(f"{what}: {path}: no such folder; make it, or give the right path or a name on the model hub")
    try:
        # Neither code of a model's own, nor the question whether to run it; weights are read as tensors.
        with tensors_only():
            return getattr(transformers, auto_class).from_pretrained(path, trust_remote_code=False, **kwargs)
    except SecError:
        raise
    except (OSError, ValueError, KeyError) as err:
        if Path(path).is_dir():
            raise SecError(f"{path}: not a transformers folder that {auto_class} can load ({_short(err)})") from err
        raise SecError(
            f"{what}: {path!r} is neither a folder here nor a model that could be fetched from the hub ({_short(err)})"
        ) from err


def is_hub_name(path: str) -> bool:
    """Whether a path that is not there may be a name on the model hub, such as TencentGameMate/chinese-hubert-large."""
    return bool(re.fullmatch(r"([\w.-]+/)?[\w.-]+", path)) and not Path(path.split("/")[0]).exists()


def _short(err: Exception) -> str:
    return str(err).strip().splitlines()[0][:200] if str(err).strip() else type(err).__name__


def with_lora(lm, options: dict):
    """A causal LM with LoRA's trained tensors; `options` of peft.LoraConfig."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as err:
        raise SecError("decoder_conf: lora needs the package peft: pip install 'espnet2_secap[lora]'") from err
    try:
        config = LoraConfig(task_type="CAUSAL_LM", **options)
    except TypeError as err:
        raise SecError(f"decoder_conf: lora: {err}; see peft's LoraConfig for the options") from err
    return get_peft_model(lm, config)


class PretrainedPart(torch.nn.Module):
    """Holds a pretrained module. It begins frozen: no gradients, always in evaluation mode, its own dtype.

    Marked `is_named_pretrained`: checkpoints leave out its tensors that are not trained, since config.yaml names where
    they come from. Parameters that are made to require gradients afterwards (LoRA, or all) are trained and saved.
    """

    is_named_pretrained = True

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "PretrainedPart":
        """Stay in evaluation mode, but for parts with something to train (LoRA's dropout, or all of it)."""
        if all(p.requires_grad for p in self.parameters()):
            return super().train(mode)
        super().train(False)
        for child in self.module.modules():
            if getattr(child, "gradient_checkpointing", False):
                child.training = mode  # by its own flag alone: transformers recomputes activations in training only
            own = list(child.parameters(recurse=False))
            if own and all(p.requires_grad for p in own):
                child.train(mode)
        return self

    def _apply(self, fn, recurse: bool = True):
        # A frozen LLaMA keeps its 16 bits when the task converts the rest to float32: only the device may change.
        return super()._apply(lambda t: fn(t).to(t.dtype) if t.is_floating_point() else fn(t), recurse)

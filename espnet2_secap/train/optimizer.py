"""The optimiser of a training: the groups that the model declares, and what weight decay leaves out."""

import argparse

import torch
from espnet2.tasks.abs_task import optim_classes

from espnet2_secap.errors import SecError


def build_optimizer(args: argparse.Namespace, model) -> torch.optim.Optimizer:
    """`--optim` with `--optim_conf` over `model.parameter_groups()`.

    With `--exclude_weight_decay true` biases, embeddings and the weights of normalisations get no weight decay
    (`--exclude_weight_decay_conf bias_weight_decay=true` or `normalization_weight_decay=true` give it to them again).

    Raises:
        SecError: an unknown optimiser or option.
    """
    optim_class = optim_classes.get(args.optim)
    if optim_class is None:
        raise SecError(f"optim: {args.optim!r}, expected one of {', '.join(optim_classes)}")
    groups = model.parameter_groups()
    if args.exclude_weight_decay:
        groups = without_decay(model, groups, args.exclude_weight_decay_conf)
    try:
        return optim_class(groups, **args.optim_conf)
    except (TypeError, ValueError) as err:
        raise SecError(f"optim_conf of optim: {args.optim}: {err}") from err


def without_decay(model: torch.nn.Module, groups: list[dict], conf: dict) -> list[dict]:
    """Split each group in two, the second one without weight decay; empty ones are left out.

    Args:
        model: whose parameters the groups hold.
        groups: as torch's optimisers take them.
        conf: bias_weight_decay, normalization_weight_decay; both false if not given.
    """
    unknown = set(conf) - {"bias_weight_decay", "normalization_weight_decay"}
    if unknown:
        raise SecError(f"exclude_weight_decay_conf: unknown key {', '.join(sorted(unknown))}")
    plain = set()
    for module in model.modules():
        normalises = type(module).__name__.endswith("Norm") or isinstance(module, torch.nn.modules.batchnorm._NormBase)
        for name, parameter in module.named_parameters(recurse=False):
            if (
                (name.endswith("bias") and not conf.get("bias_weight_decay"))
                or (normalises and not conf.get("normalization_weight_decay"))
                or isinstance(module, torch.nn.Embedding)
            ):
                plain.add(id(parameter))
    output = []
    for group in groups:
        decayed = [p for p in group["params"] if id(p) not in plain]
        others = [p for p in group["params"] if id(p) in plain]
        output += [{**group, "params": decayed}] if decayed else []
        output += [{**group, "params": others, "weight_decay": 0.0}] if others else []
    return output

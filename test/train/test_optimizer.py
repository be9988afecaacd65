from types import SimpleNamespace

import pytest
import torch

from espnet2_secap.errors import SecError
from espnet2_secap.train.optimizer import build_optimizer, without_decay


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.norm = torch.nn.LayerNorm(3)
        self.tokens = torch.nn.Embedding(4, 3)

    def parameter_groups(self):
        return [{"params": [self.linear.weight, self.linear.bias, self.norm.weight, self.norm.bias]},
                {"params": [self.tokens.weight], "lr": 0.5}]  # fmt: skip


def options(**other):
    conf = dict(optim="adamw", optim_conf={"lr": 0.1, "weight_decay": 0.01}, exclude_weight_decay=False,
                exclude_weight_decay_conf={})  # fmt: skip
    return SimpleNamespace(**conf | other)


def test_groups_of_the_model_with_options_of_their_own():
    optimizer = build_optimizer(options(), Model())
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (4, 0.1, 0.01), (1, 0.5, 0.01),
    ]  # fmt: skip


def test_biases_norms_and_embeddings_without_decay():
    model = Model()
    optimizer = build_optimizer(options(exclude_weight_decay=True), model)
    found = [([id(p) for p in g["params"]], g["lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [
        ([id(model.linear.weight)], 0.1, 0.01),
        ([id(model.linear.bias), id(model.norm.weight), id(model.norm.bias)], 0.1, 0.0),
        ([id(model.tokens.weight)], 0.5, 0.0),
    ]
    all_but_bias = {"bias_weight_decay": True, "normalization_weight_decay": False}
    (decayed, plain, _) = without_decay(model, model.parameter_groups(), all_but_bias)
    assert len(decayed["params"]) == 2 and len(plain["params"]) == 2, "the norm's own bias stays with the norm"


def test_bad_options():
    with pytest.raises(SecError, match="optim: 'adamv', expected one of"):
        build_optimizer(options(optim="adamv"), Model())
    with pytest.raises(SecError, match="optim_conf of optim: adamw: .*lrr"):
        build_optimizer(options(optim_conf={"lrr": 1}), Model())
    with pytest.raises(SecError, match="exclude_weight_decay_conf: unknown key bias"):
        build_optimizer(options(exclude_weight_decay=True, exclude_weight_decay_conf={"bias": 1}), Model())

import math

import pytest
import torch
from torch.nn import functional as F

from espnet2_secap.loss.soft import soft_cross_entropy


def test_by_hand():
    """Probabilities 3/4 and 1/4; the third row names nothing."""
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0], [5.0, -5.0]])
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
    total, weight = soft_cross_entropy(logits, target, torch.tensor([1.0, 2.0]))
    first, second = math.log(4 / 3), math.log(4)
    assert total.item() == pytest.approx(first + 0.5 * first + 2 * 0.5 * second, rel=1e-6)
    assert weight.item() == pytest.approx(1 + 0.5 + 2 * 0.5)


def test_one_class_each_is_pytorchs():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(7, 4), torch.randint(4, (7,)), torch.rand(4)
    total, weight = soft_cross_entropy(logits, F.one_hot(classes, 4).float(), weights)
    torch.testing.assert_close(total / weight, F.cross_entropy(logits, classes, weights))


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(3, 4, dtype=torch.bfloat16)
    total, _ = soft_cross_entropy(logits, torch.full((3, 4), 0.25), torch.ones(4))
    assert total.dtype == torch.float32

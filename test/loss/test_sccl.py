import math

import pytest
import torch

from espnet2_secap.loss.sccl import sccl_loss

# Unit vectors in the plane: speech at 0, 90, 0 degrees; captions at 0, 0, 60 degrees; categories 0, 0, 1.
SPEECH = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
CAPTION = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.5, math.sqrt(0.75)]])
CATEGORY = torch.tensor([0, 0, 1])
# cosines: row 1: 1, 1, 0.5; row 2: 0, 0, sqrt(3)/2; row 3: 1, 1, 0.5
# own (diagonal): 1-1 + 1-0 + 1-0.5 = 1.5
# same: row 1 with caption 2: 0; row 2 with caption 1: 1; row 3 has none: 0 -> 1
# other, m = 0.2: row 1: 0.5-0.2; row 2: sqrt(3)/2-0.2; row 3: 0.8 + 0.8


def test_eq_5_by_hand():
    loss, terms = sccl_loss(SPEECH, CAPTION, CATEGORY, weights=(1.0, 2.0, 3.0), margin=0.2)
    other = 0.3 + math.sqrt(0.75) - 0.2 + 1.6
    assert terms["own"].item() == pytest.approx(1.5)
    assert terms["same"].item() == pytest.approx(1.0)
    assert terms["other"].item() == pytest.approx(other)
    assert loss.item() == pytest.approx(1.5 + 2.0 + 3.0 * other, rel=1e-5)


def test_mean_is_a_third_of_the_sum():
    loss, terms = sccl_loss(SPEECH, CAPTION, CATEGORY, margin=0.2, reduction="mean")
    assert terms["own"].item() == pytest.approx(0.5)
    assert loss.item() == pytest.approx((1.5 + 1.0 + 0.3 + math.sqrt(0.75) - 0.2 + 1.6) / 3, rel=1e-5)


def test_a_category_of_one_and_gradients():
    speech = torch.randn(3, 4, requires_grad=True)
    loss, terms = sccl_loss(speech, torch.randn(3, 4), torch.tensor([0, 1, 2]))
    assert terms["same"].item() == 0.0
    loss.backward()
    assert torch.isfinite(speech.grad).all() and speech.grad.abs().sum() > 0


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="category"):
        sccl_loss(SPEECH, CAPTION, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="caption"):
        sccl_loss(SPEECH, CAPTION[:1], CATEGORY)
    with pytest.raises(ValueError, match="reduction"):
        sccl_loss(SPEECH, CAPTION, CATEGORY, reduction="max")


def test_the_defaults_are_eq_5_without_a_margin():
    """All weights 1, m = 0, the sum, and no centring."""
    loss, _ = sccl_loss(SPEECH, CAPTION, CATEGORY)
    assert loss.item() == pytest.approx(1.5 + 1.0 + 0.5 + math.sqrt(0.75) + 2.0, rel=1e-5)


def test_centring_by_hand():
    """Of two pairs the common part is (0, 3) and (0, -4); without it each utterance points where its caption does."""
    speech = torch.tensor([[4.0, 3.0], [-4.0, 3.0]])
    caption = torch.tensor([[3.0, -4.0], [-3.0, -4.0]])
    category = torch.tensor([0, 1])
    _, terms = sccl_loss(speech, caption, category, margin=-1.0)  # cosines 0 with the own, -24 / 25 with the other
    assert terms["own"].item() == pytest.approx(2.0) and terms["other"].item() == pytest.approx(0.08, rel=1e-5)
    _, terms = sccl_loss(speech, caption, category, margin=-1.0, center=True)  # 1 and -1
    assert terms["own"].item() == pytest.approx(0.0, abs=1e-6)
    assert terms["other"].item() == pytest.approx(0.0, abs=1e-6)

import pytest
import torch

from espnet2_secap.augment.mixup import draw_shares, mix, nearest


def test_the_nearest_other_point():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [3.0, 4.5]])
    assert nearest(points).tolist() == [2, 3, 0, 1]
    assert nearest(torch.zeros(2, 3)).tolist() == [1, 0], "two equal points are each other's"


def test_mixed_by_hand():
    vectors = torch.tensor([[[1.0, 2.0]], [[5.0, 6.0]]])
    mixed = mix(vectors, torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    assert mixed.tolist() == [[[2.0, 3.0]], [[5.0, 6.0]]]


def test_shares_are_of_the_beta_distribution_and_of_the_seed():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    torch.manual_seed(0)
    shares = draw_shares(0.5, 20000, torch.device("cpu"))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01) and shares.var().item() == pytest.approx(
        1 / 8, abs=0.005
    )
    torch.manual_seed(0)
    assert torch.equal(shares, draw_shares(0.5, 20000, torch.device("cpu")))

import math

import pytest
import torch

from espnet2_secap.loss.vclub import gaussian_log_likelihood, vclub_bound


def test_log_likelihood_by_hand():
    # D = 2, mean 0, variances 1 and 4, y = (1, 2): -1/2 [1/1 + 0 + 4/4 + log 4] = -1 - log 2
    value = gaussian_log_likelihood(torch.zeros(2), torch.tensor([0.0, math.log(4.0)]), torch.tensor([1.0, 2.0]))
    assert value.item() == pytest.approx(-1.0 - math.log(2.0))


def test_bound_by_hand():
    # D = 1, unit variance, means (0, 1), y = (0, 2).
    # i=1: own 0, others (0 + 4)/2 = 2 -> 1/2 (2 - 0) = 1
    # i=2: own 1, others (1 + 1)/2 = 1 -> 0.  Mean of both: 0.5
    bound = vclub_bound(torch.tensor([[0.0], [1.0]]), torch.zeros(2, 1), torch.tensor([[0.0], [2.0]]))
    assert bound.item() == pytest.approx(0.5)


def test_bound_is_the_double_sum_of_eq_4():
    torch.manual_seed(0)
    n, dim = 7, 5
    mean, log_var, y = torch.randn(n, dim), torch.randn(n, dim), torch.randn(n, dim) + 100.0
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += gaussian_log_likelihood(mean[i], log_var[i], y[i]) - gaussian_log_likelihood(
                mean[i], log_var[i], y[j]
            )
    assert vclub_bound(mean, log_var, y).item() == pytest.approx(total.item() / n**2, rel=1e-4)


def test_bound_is_zero_for_one_pair_and_names_bad_shapes():
    one = torch.randn(1, 3)
    assert vclub_bound(torch.randn(1, 3), torch.randn(1, 3), one).item() == pytest.approx(0.0, abs=1e-5)
    right, wrong = torch.zeros(2, 3), torch.zeros(2, 4)
    for arguments in ((right, right, wrong), (wrong, right, right), (right, wrong, right)):
        with pytest.raises(ValueError, match="must agree"):
            vclub_bound(*arguments)

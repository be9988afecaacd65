import torch

from espnet2_secap.loss.estimator import GaussianEstimator, standardise


def test_shapes_and_the_range_of_the_log_variance():
    torch.manual_seed(0)
    estimator = GaussianEstimator(x_size=3, y_size=5, hidden_size=4)
    mean, log_var = estimator(1000 * torch.randn(7, 3))
    assert mean.shape == log_var.shape == (7, 5)
    assert log_var.abs().max() <= 1 < mean.abs().max()


def test_one_layer_by_hand():
    """hidden = relu(x - 1), mean = 2 hidden + 3, log-variance = tanh(hidden / 2)."""
    estimator = GaussianEstimator(1, 1, 1)
    for network, weight, bias in ((estimator.mean, 2.0, 3.0), (estimator.log_var, 0.5, 0.0)):
        for layer, values in ((network[0], (1.0, -1.0)), (network[2], (weight, bias))):
            torch.nn.init.constant_(layer.weight, values[0])
            torch.nn.init.constant_(layer.bias, values[1])
    mean, log_var = estimator(torch.tensor([[0.0], [3.0]]))
    assert mean.flatten().tolist() == [3.0, 7.0]  # hidden is 0 and 2
    assert torch.allclose(log_var.flatten(), torch.tanh(torch.tensor([0.0, 1.0])))


def test_standardise_by_hand():
    """Column 1: mean 2, variance 1; column 2 is constant and becomes zero instead of dividing by zero."""
    values = standardise(torch.tensor([[1.0, 5.0], [3.0, 5.0]], dtype=torch.float64))
    expected = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64) / 1.00001**0.5
    assert torch.allclose(values, expected, atol=1e-12)

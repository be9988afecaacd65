"""The Gaussian q(y | x) whose likelihood bounds the mutual information (SECap, Eq. 4)."""

import torch


class GaussianEstimator(torch.nn.Module):
    """q(y | x) of Eq. 4: mean and log-variance are small networks of x.

    Args:
        x_size, y_size: widths of x (T-Embedding) and y (Q-Embedding).
        hidden_size: width of the hidden layer of each network.
    """

    def __init__(self, x_size: int, y_size: int, hidden_size: int):
        super().__init__()
        self.mean = torch.nn.Sequential(
            torch.nn.Linear(x_size, hidden_size), torch.nn.ReLU(), torch.nn.Linear(hidden_size, y_size)
        )
        self.log_var = torch.nn.Sequential(
            torch.nn.Linear(x_size, hidden_size), torch.nn.ReLU(), torch.nn.Linear(hidden_size, y_size), torch.nn.Tanh()
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (n, x_size) -> mean (n, y_size), log-variance (n, y_size) within -1 and 1."""
        return self.mean(x), self.log_var(x)


def standardise(values: torch.Tensor) -> torch.Tensor:
    """(n, D) -> zero mean and unit variance over n in each of the D dimensions."""
    values = values - values.mean(0)
    return values / (values.pow(2).mean(0) + 1e-5).sqrt()

"""The linear bridge of the paper's ablation (SECap, Table 3: HuBERT + linear + LLaMA)."""

import torch

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.bridge.frames import average_frames
from espnet2_secap.errors import SecError
from espnet2_secap.values import Count


class LinearBridge(AbsBridge):
    """Averages every `stride` frames and maps them by one linear layer.

    Args:
        input_size: D, features per frame.
        hidden_size: H, width of the output vectors.
        stride: frames per output vector; the last one averages what is left.
    """

    def __init__(self, input_size: Count, hidden_size: Count = 768, stride: Count = 1):
        super().__init__()
        if stride < 1:
            raise SecError(f"bridge_conf: stride={stride}, expected 1 or more")
        self.stride = stride
        self.linear = torch.nn.Linear(input_size, hidden_size)

    def output_size(self) -> int:
        """H."""
        return self.linear.out_features

    def forward(self, feats: torch.Tensor, feats_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D), (B,) -> (B, ceil(T / stride), H), mask (B, ceil(T / stride))."""
        feats, mask = average_frames(feats, feats_lengths, self.stride)
        return self.linear(feats), mask

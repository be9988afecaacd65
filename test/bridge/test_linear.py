import pytest
import torch

from espnet2_secap.bridge.linear import LinearBridge


def test_averages_by_hand():
    bridge = LinearBridge(input_size=1, hidden_size=1, stride=2)
    with torch.no_grad():
        bridge.linear.weight.fill_(10.0)
        bridge.linear.bias.fill_(1.0)
    feats = torch.tensor([[1.0, 3.0, 5.0, 9.0, 7.0], [2.0, 4.0, 6.0, 99.0, 99.0]])[..., None]
    output, mask = bridge(feats, torch.tensor([5, 3]))
    # (1+3)/2, (5+9)/2, 7 and (2+4)/2, 6; then 10 x + 1
    assert output[0, :, 0].tolist() == pytest.approx([21.0, 71.0, 71.0])
    assert output[1, :2, 0].tolist() == pytest.approx([31.0, 61.0])
    assert mask.tolist() == [[True, True, True], [True, True, False]]


def test_bad_stride_and_no_text_branch():
    with pytest.raises(ValueError, match="stride=0"):
        LinearBridge(4, stride=0)
    with pytest.raises(NotImplementedError, match="no text branch"):
        LinearBridge(4).forward_text(torch.zeros(1, 2, 4), torch.ones(1, 2))


def test_sizes_and_defaults():
    bridge = LinearBridge(4)
    assert bridge.output_size() == 768 and bridge.stride == 1 and not bridge.has_text_branch
    output, mask = LinearBridge(4, hidden_size=6)(torch.randn(2, 3, 4), torch.tensor([3, 1]))
    assert output.shape == (2, 3, 6) and mask.tolist() == [[True] * 3, [True, False, False]]

"""Every bridge of the registry keeps to the interface."""

import pytest
import torch

from espnet2_secap.tasks.parts import CHOICES

SMALL = {"qformer": dict(num_queries=3, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32,
                         encoder_width=16)}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CHOICES["bridge"].choices() if name])
def test_shapes_and_padding(name):
    torch.manual_seed(0)
    bridge = CHOICES["bridge"].build(name, SMALL.get(name, {}), input_size=5, text_size=7).eval()
    feats, lengths = torch.randn(2, 9, 5), torch.tensor([9, 4])
    output, mask = bridge(feats, lengths)
    assert output.shape == (2, mask.size(1), bridge.output_size()) and mask.dtype == torch.bool
    feats[1, 4:] = 1e3
    again, _ = bridge(feats, lengths)
    torch.testing.assert_close(output[mask], again[mask])
    alone, own = bridge(feats[1:, :4], lengths[1:])
    torch.testing.assert_close(alone[own], output[1:][mask[1:]], rtol=1e-4, atol=1e-5)
    texts, real = torch.randn(2, 6, 7), torch.ones(2, 6, dtype=torch.bool)
    if bridge.has_text_branch:
        assert bridge.forward_text(texts, real).shape == (2, 6, bridge.output_size())
        names = [name for name, _ in bridge.named_parameters()]
        assert all(any(key.startswith(prefix) for key in names) for prefix in bridge.text_branch)
    else:
        with pytest.raises(NotImplementedError, match="no text branch"):
            bridge.forward_text(texts, real)

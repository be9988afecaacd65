import pytest
import torch

from espnet2_secap.augment.tokens import drop_tokens


def test_a_share_of_the_tokens_becomes_the_blank():
    torch.manual_seed(0)
    ids = torch.randint(3, 300, (100, 50))
    output = drop_tokens(ids, 0.3, 0)
    assert (output == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(output[output != 0], ids[output != 0]) and not (ids == 0).any()
    assert torch.equal(drop_tokens(ids, 0.0, 0), ids)


def test_the_draw_is_that_of_the_seed():
    ids = torch.randint(3, 300, (5, 9))
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(drop_tokens(ids, 0.5, 0))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])

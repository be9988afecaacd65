import pytest
import torch

from espnet2_secap.loss.precision import in_float32, single
from espnet2_secap.loss.sccl import sccl_loss


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_and_all_else_stays(dtype):
    assert single(torch.ones(2, dtype=dtype)).dtype == torch.float32
    for values in (torch.ones(2), torch.ones(2, dtype=torch.float64), torch.arange(2)):
        assert single(values) is values


def test_arguments_are_float32_and_autocast_is_off_within():
    @in_float32
    def product(a, b, factor=1.0):
        assert not torch.is_autocast_enabled("cpu")
        return factor * (a @ b)

    a = torch.tensor([[1.0, 2**-9]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = product(a, b=a.T, factor=2.0)
        assert torch.is_autocast_enabled("cpu")
    assert value.dtype == torch.float32 and value.item() == 2 * (1 + 2**-18)  # which bfloat16 rounds to 2


def test_a_cosine_near_one_keeps_its_digits_under_autocast():
    """Own captions at an angle of 0.02: 1 - cos = 2e-4, where bfloat16 has steps of 4e-3 near 1."""
    angle = torch.tensor([0.0, 0.02])
    caption = torch.stack([angle.cos(), angle.sin()], dim=1)
    speech = caption.flip(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, terms = sccl_loss(speech, caption, torch.tensor([0, 1]))
    assert terms["own"].item() == pytest.approx(2 * (1 - torch.tensor(0.02).cos().item()), rel=1e-3)

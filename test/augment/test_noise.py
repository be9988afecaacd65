import pytest
import torch

from espnet2_secap.augment.noise import FeatsNoise


def test_the_shift_is_one_vector_per_utterance_and_the_jitter_is_not():
    torch.manual_seed(0)
    feats = torch.zeros(50, 8, 40)
    lengths = torch.full((50,), 8)
    shifted, same = FeatsNoise(shift=2.0)(feats, lengths)
    assert same is lengths
    assert torch.equal(shifted, shifted[:, :1].expand_as(shifted))
    assert shifted[:, 0].std() == pytest.approx(2.0, rel=0.05)
    jittered, _ = FeatsNoise(jitter=0.5)(feats, lengths)
    assert jittered.std() == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(jittered[:, 0], jittered[:, 1])
    both, _ = FeatsNoise(shift=2.0, jitter=0.5)(feats, lengths)
    assert both.std() == pytest.approx((2.0**2 + 0.5**2) ** 0.5, rel=0.05)
    assert not feats.any(), "the input stays as it was"


def test_no_noise_by_default_and_none_below_zero():
    feats = torch.randn(2, 3, 4)
    assert torch.equal(FeatsNoise()(feats)[0], feats)
    with pytest.raises(ValueError, match="specaug_conf: shift=-1"):
        FeatsNoise(shift=-1)

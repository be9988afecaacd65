import pytest
import torch

from espnet2_secap.encoder.stored import StoredEncoder, WeightedSum
from espnet2_secap.errors import SecError


def test_passes_features_on_and_clears_the_padding():
    encoder = StoredEncoder(6)
    feats = torch.randn(2, 5, 6)
    out, lengths = encoder(feats, torch.tensor([3, 4]))
    assert encoder.output_size() == 6 and list(encoder.parameters()) == []
    assert out.shape == (2, 4, 6) and lengths.tolist() == [3, 4]
    assert torch.equal(out[1], feats[1, :4]) and torch.equal(out[0, :3], feats[0, :3])
    assert not out[0, 3:].any()


def test_layers_stay_side_by_side_without_a_mixture():
    assert StoredEncoder(6, num_layers=3).output_size() == 6


def test_weighted_sum_by_hand():
    encoder = StoredEncoder(6, num_layers=3, layer="weighted_sum")
    assert encoder.output_size() == 2
    feats = torch.tensor([[[1.0, 2.0, 10.0, 20.0, 100.0, 200.0]]])  # three layers of two values
    assert torch.allclose(encoder(feats, torch.tensor([1]))[0], torch.tensor([[[37.0, 74.0]]]))
    with torch.no_grad():  # softmax(log 1, log 1, log 2) = 1/4, 1/4, 1/2
        encoder.mix.weight.copy_(torch.tensor([1.0, 1.0, 2.0]).log())
    assert torch.allclose(encoder(feats, torch.tensor([1]))[0], torch.tensor([[[52.75, 105.5]]]))


def test_weighted_sum_in_half_precision_keeps_it():
    assert WeightedSum(2)(torch.ones(1, 3, 2, 4, dtype=torch.float16)).dtype == torch.float16


def test_bad_arguments():
    with pytest.raises(SecError, match="input_size 7 is no multiple of num_layers 3"):
        StoredEncoder(7, num_layers=3)
    with pytest.raises(SecError, match="layer is 'last'"):
        StoredEncoder(6, layer="last")
    with pytest.raises(SecError, match="input_size is 6"):
        StoredEncoder(6)(torch.randn(2, 5, 4), torch.tensor([5, 5]))

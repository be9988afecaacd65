import pytest
import torch

from espnet2_secap.encoder.waveforms import samples_of
from espnet2_secap.errors import SecError


def test_lengths_of_waveforms_that_are_long_enough():
    assert samples_of(torch.zeros(2, 9), torch.tensor([9, 5]), 5, "it needs") == [9, 5]


def test_features_and_short_waveforms_are_refused():
    with pytest.raises(SecError, match=r"expects waveforms \(B, samples\), got \(2, 9, 3\); give --feats_type raw"):
        samples_of(torch.zeros(2, 9, 3), torch.tensor([9, 5]), 5, "it needs")
    with pytest.raises(SecError, match="an utterance has 5 samples, it needs 6; leave out such short ones"):
        samples_of(torch.zeros(2, 9), torch.tensor([9, 5]), 6, "it needs")

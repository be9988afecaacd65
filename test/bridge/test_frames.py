import torch

from espnet2_secap.bridge.frames import average_frames


def test_the_last_average_is_of_what_is_left_and_padding_counts_for_nothing():
    feats = torch.tensor([[1.0, 3.0, 5.0, 9.0, 7.0], [2.0, 4.0, 6.0, 99.0, 99.0]])[..., None]
    averages, mask = average_frames(feats, torch.tensor([5, 3]), 2)
    assert averages[..., 0].tolist() == [[2.0, 7.0, 7.0], [3.0, 6.0, 0.0]]
    assert mask.tolist() == [[True, True, True], [True, True, False]]


def test_a_stride_of_one_keeps_every_frame():
    feats = torch.ones(2, 3, 1)
    averages, mask = average_frames(feats, torch.tensor([3, 1]), 1)
    assert averages[..., 0].tolist() == [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]] and mask.sum() == 4

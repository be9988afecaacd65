import torch

from espnet2_secap.masks import lengths_to_mask, masked_mean, masked_statistics, means_of_frames, positions, to_the_left


def test_lengths_to_mask():
    assert lengths_to_mask(torch.tensor([2, 0, 3]), 3).tolist() == [
        [True, True, False],
        [False, False, False],
        [True, True, True],
    ]


def test_positions_count_real_places_only():
    mask = torch.tensor([[False, True, True], [True, False, True]])
    assert positions(mask).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_masked_mean_ignores_padding_and_survives_an_empty_row():
    values = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]], [[5.0, 5.0]] * 3])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(values, mask).tolist() == [[2.0, 4.0], [0.0, 0.0]]


def test_padding_goes_to_the_left_and_no_column_is_padding_alone():
    values = torch.tensor([[1, 0, 2, 0, 3, 0], [0, 0, 4, 5, 0, 0]])[..., None]
    moved, mask = to_the_left(values, values[..., 0] > 0)
    assert moved[..., 0].tolist() == [[1, 2, 3], [0, 4, 5]] and mask.tolist() == [[True] * 3, [False, True, True]]


def test_means_of_frames():
    values = torch.arange(12.0).view(2, 6, 1)
    means, lengths = means_of_frames(values, torch.tensor([6, 3]), 4)
    assert lengths.tolist() == [2, 1]
    assert means.flatten(1).tolist() == [[1.5, 4.5], [7.0, 0.0]]  # 0..3, 4 and 5; 6..8, what is beyond does not count
    same, lengths = means_of_frames(values, torch.tensor([6, 3]), 1)
    assert same is values and lengths.tolist() == [6, 3]


def test_masked_statistics_by_hand():
    """1 and 3: mean 2, deviation 1; a row of one frame has none, which counts as 0.001."""
    values = torch.tensor([[[1.0], [3.0], [99.0]], [[5.0], [99.0], [99.0]]], requires_grad=True)
    output = masked_statistics(values, torch.tensor([[True, True, False], [True, False, False]]))
    torch.testing.assert_close(output, torch.tensor([[2.0, 1.0], [5.0, 1e-3]]))
    output.sum().backward()
    assert values.grad.isfinite().all() and not values.grad[0, 2].any()

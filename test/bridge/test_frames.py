import pytest
import torch

from espnet2_secap.bridge.frames import average_frames

FEATS = torch.tensor([[1.0, 3.0, 5.0, 9.0, 8.0], [2.0, 4.0, 6.0, 99.0, 99.0], [7.0, 99.0, 99.0, 99.0, 99.0]])[..., None]
LENGTHS = torch.tensor([5, 3, 1])


def test_every_frame_as_it_is_and_nothing_behind_the_end():
    averages, mask = average_frames(FEATS, LENGTHS, 1)
    assert averages[..., 0].tolist() == [[1, 3, 5, 9, 8], [2, 4, 6, 0, 0], [7, 0, 0, 0, 0]]
    assert mask.sum(1).tolist() == [5, 3, 1]


@pytest.mark.parametrize(
    "stride, expected, real",
    [
        (2, [[2, 7, 8], [3, 6, 0], [7, 0, 0]], [3, 2, 1]),  # (1+3)/2, (5+9)/2, 8; (2+4)/2, 6; 7
        (3, [[3, 8.5], [4, 0], [7, 0]], [2, 1, 1]),  # (1+3+5)/3, (9+8)/2; (2+4+6)/3; 7
        (5, [[5.2], [4], [7]], [1, 1, 1]),  # 26/5, 12/3, 7
        (9, [[5.2], [4], [7]], [1, 1, 1]),
    ],
)
def test_means_by_hand(stride, expected, real):
    averages, mask = average_frames(FEATS, LENGTHS, stride)
    torch.testing.assert_close(averages[..., 0], torch.tensor(expected, dtype=torch.float32))
    assert mask.sum(1).tolist() == real and mask[:, 0].all()

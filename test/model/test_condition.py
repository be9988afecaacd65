import torch

from espnet2_secap.model.condition import ids_segment, make_segments


def test_ids_behind_the_end_are_masked_and_no_longer_negative():
    segment = ids_segment(torch.tensor([[5, 0, 7], [9, -1, -1]]), torch.tensor([3, 1]))
    assert segment.content.tolist() == [[5, 0, 7], [9, 0, 0]] and segment.is_ids
    assert segment.mask.tolist() == [[True, True, True], [True, False, False]]


def test_a_segment_for_each_role_of_vectors_or_of_ids():
    vectors, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    batch = {
        "instruction": torch.tensor([[5, 6], [7, -1]]),
        "instruction_lengths": torch.tensor([2, 1]),
        "queries": torch.zeros(2, 1),  # vectors of the role come first
        "caption": torch.zeros(2, 1),  # of no use here
    }
    made = make_segments(("queries", "instruction"), batch, {"queries": (vectors, mask)})
    assert list(made) == ["queries", "instruction"]
    assert made["queries"].content is vectors and made["queries"].mask is mask
    assert made["instruction"].content.tolist() == [[5, 6], [7, 0]]
    assert made["instruction"].mask.tolist() == [[True, True], [True, False]]

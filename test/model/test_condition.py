import torch

from espnet2_secap.model.condition import ids_segment, make_segments


def test_ids_of_the_batch_and_vectors_that_are_given():
    ids = torch.tensor([[7, 8, 9], [5, -1, -1]])
    batch = {"instruction": ids, "instruction_lengths": torch.tensor([3, 1]), "speech": None}
    vectors = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)
    made = make_segments(("queries", "instruction"), batch, {"queries": vectors})
    assert list(made) == ["queries", "instruction"]
    assert made["queries"].content is vectors[0] and not made["queries"].is_ids
    assert made["instruction"].content.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert made["instruction"].mask.tolist() == [[True] * 3, [True, False, False]]


def test_padding_of_ids_is_a_valid_id():
    segment = ids_segment(torch.tensor([[-1, -1]]), torch.tensor([0]))
    assert segment.content.tolist() == [[0, 0]] and not segment.mask.any()

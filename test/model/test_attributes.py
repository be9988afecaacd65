import math

import pytest
import torch

from espnet2_secap.model.attributes import AttributeHead, class_names

COUNTS = {"rate": {"slow": 1.0, "fast": 3.0}, "emotion": {"sad": 2.0, "angry": 2.0, "calm": 4.0}}


def head(**options) -> AttributeHead:
    torch.manual_seed(0)
    return AttributeHead(COUNTS, 6, **options)


def test_the_order_does_not_depend_on_that_of_the_counts():
    assert class_names(COUNTS) == [("emotion", ["angry", "calm", "sad"]), ("rate", ["fast", "slow"])]
    assert class_names(dict(reversed(COUNTS.items()))) == class_names(COUNTS)


def test_balanced_weights_by_hand():
    """All of an attribute / (categories * count): every category weighs as much in the sum over the training set."""
    expected = [8 / 3 / 2, 8 / 3 / 4, 8 / 3 / 2, 4 / 2 / 3, 4 / 2 / 1]
    assert head(balanced=True).weights.tolist() == pytest.approx(expected)
    assert head().weights.tolist() == [1.0] * 5


def test_loss_and_accuracy_by_hand():
    """Uniform but for one logit: emotion's softmax is 1/2, 1/4, 1/4; rate's 1/2, 1/2."""
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0, 0.0, 0.0], [math.log(2.0), 0.0, 0.0, 1e-3, 0.0]])
    target = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0]])  # the first has no rate
    loss, stats = head().loss(logits, target)
    terms = [0.5 * math.log(2) + 0.5 * math.log(4), math.log(4), math.log(2) - 0.5e-3]
    assert loss.item() == pytest.approx(sum(terms) / 3, abs=1e-5) == stats["attributes_loss"].item()
    assert stats["accuracy_emotion"].item() == 0.5 and stats["accuracy_rate"].item() == 1.0
    assert stats["accuracy"].item() == pytest.approx(2 / 3)


def test_what_names_nothing_counts_for_nothing():
    logits = torch.randn(2, 5, requires_grad=True)
    loss, stats = head().loss(logits, torch.zeros(2, 5))
    assert loss.item() == 0 and math.isnan(stats["attributes_loss"]) and math.isnan(stats["accuracy"])
    loss.backward()
    assert not logits.grad.any()


def test_the_prompt_is_the_expected_embedding_and_leaves_the_prediction_alone():
    part = head(prompt_size=4)
    logits = part(torch.randn(2, 6))
    vectors = part.prompt(logits)
    assert vectors.shape == (2, 2, 4)
    p = logits[1, :3].softmax(0)
    torch.testing.assert_close(vectors[1, 0], sum(p[i] * part.embeddings[i] for i in range(3)))
    vectors.sum().backward()
    assert part.linear.weight.grad is None and part.embeddings.grad.any()


def test_weights_are_no_part_of_the_state():
    assert set(head(prompt_size=4).state_dict()) == {"linear.weight", "linear.bias", "embeddings"}

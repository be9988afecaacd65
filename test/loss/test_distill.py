import math

import pytest
import torch
from torch.nn import functional as F

from espnet2_secap.errors import SecError
from espnet2_secap.loss.distill import divergence

LN2, LN3 = math.log(2.0), math.log(3.0)
# Probabilities 3/4, 1/4 of the teacher, 1/2, 1/2 of the student.
TEACHER, STUDENT = torch.tensor([[LN3, 0.0]]), torch.tensor([[7.0, 7.0]])
FORWARD = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
REVERSE = 0.5 * math.log(2 / 3) + 0.5 * math.log(2.0)


def test_forward_and_reverse_by_hand():
    assert divergence(STUDENT, TEACHER).item() == pytest.approx(FORWARD, rel=1e-6)
    assert divergence(STUDENT, TEACHER, "reverse").item() == pytest.approx(REVERSE, rel=1e-6)


def test_jsd_by_hand():
    """The mixture with beta 1/2 is 5/8, 3/8."""
    own = 0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375)
    others = 0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375)
    assert divergence(STUDENT, TEACHER, "jsd").item() == pytest.approx((own + others) / 2, rel=1e-6)


def test_temperature_by_hand():
    """Logits 2 ln 3 and 0 at temperature 2 are 3/4 and 1/4."""
    found = divergence(STUDENT, 2 * TEACHER, temperature=2.0)
    assert found.item() == pytest.approx(FORWARD, rel=1e-6)
    assert divergence(STUDENT, 2 * TEACHER, temperature=2.0, squared=True).item() == pytest.approx(
        4 * FORWARD, rel=1e-6
    )


def test_top_k_by_hand():
    """Teacher 1/2, 1/4, 1/8, 1/8; of the student, all 1/4, the last two are one class of 1/2."""
    teacher = torch.tensor([[2 * LN2, LN2, 0.0, 0.0]])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.25) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(torch.zeros(1, 4), teacher, top_k=2).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
def test_properties(direction):
    """0 for equal ones, above 0 for others; all tokens as the top k change nothing."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 11), torch.randn(2, 3, 11)
    assert divergence(teacher, teacher, direction).abs().max() < 1e-6
    found = divergence(student, teacher, direction, temperature=2.0)
    assert found.shape == (2, 3) and (found > 0).all()
    torch.testing.assert_close(divergence(student, teacher, direction, 2.0, top_k=11), found)
    coarse = divergence(student, teacher, direction, 2.0, top_k=4)
    assert (coarse < found).all() and (coarse > 0).all()  # joining classes loses what tells them apart


def test_forward_is_pytorchs():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 13), torch.randn(5, 13)
    expected = F.kl_div((student / 2).log_softmax(-1), (teacher / 2).log_softmax(-1), reduction="none", log_target=True)
    torch.testing.assert_close(divergence(student, teacher, temperature=2.0), expected.sum(-1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
@pytest.mark.parametrize("top_k", [0, 3])
def test_gradient_is_that_of_finite_differences(direction, top_k):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, dtype=torch.double, requires_grad=True), torch.randn(2, 6, dtype=torch.double)
    torch.autograd.gradcheck(lambda one: divergence(one, teacher, direction, 1.5, True, top_k, 0.3), (student,))


def test_the_teacher_gets_no_gradient():
    teacher, student = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    divergence(student, teacher, "jsd").sum().backward()
    assert teacher.grad is None and student.grad is not None


@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
def test_tokens_that_are_ruled_out_count_for_nothing(direction):
    """As LMs do with the rows that pad their vocabulary."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5)
    inner = (
        torch.cat([student, torch.full((2, 2), -torch.inf)], 1),
        torch.cat([teacher, torch.full((2, 2), -torch.inf)], 1),
    )
    found = divergence(*inner, direction)
    torch.testing.assert_close(found, divergence(student, teacher, direction))
    found.sum().backward()
    assert student.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    student, teacher = torch.randn(3, 4).bfloat16(), torch.randn(3, 4).bfloat16()
    found = divergence(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, divergence(student.float(), teacher.float()))


def test_other_vocabulary():
    with pytest.raises(SecError, match="the teacher has 5 tokens, the student 4"):
        divergence(torch.zeros(1, 4), torch.zeros(1, 5))

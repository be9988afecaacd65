import math
import warnings
from types import SimpleNamespace

import pytest
import torch

from espnet2_secap.loss.dpo import LOSSES, preference_loss

# Two pairs. Log-ratios of the first: -4 - (-5) = 1 for chosen, -7 - (-6) = -1 for rejected, so a margin of 2.
# Of the second: -3 - (-2) = -1 and -2 - (-2.5) = 0.5, so a margin of -1.5.
PAIRS = dict(
    chosen=torch.tensor([-4.0, -3.0]),
    rejected=torch.tensor([-7.0, -2.0]),
    chosen_reference=torch.tensor([-5.0, -2.0]),
    rejected_reference=torch.tensor([-6.0, -2.5]),
    chosen_lengths=torch.tensor([4, 2]),
    rejected_lengths=torch.tensor([2, 5]),
)
# Per token: 1 / 4 - (-1 / 2) = 0.75; -1 / 2 - 0.5 / 5 = -0.6.


def softplus(x: float) -> float:
    """-log sigmoid(-x)"""
    return math.log(1 + math.exp(x))


@pytest.mark.parametrize(
    ("loss", "smoothing", "expected"),
    [
        ("sigmoid", 0.0, [softplus(-1.0), softplus(0.75)]),  # beta 0.5: -log sigmoid(1), -log sigmoid(-0.75)
        ("hinge", 0.0, [0.0, 1.75]),  # 1 - 0.5 * 2, 1 + 0.75
        ("ipo", 0.0, [(0.75 - 1) ** 2, (-0.6 - 1) ** 2]),  # 1 / (2 beta) = 1
        ("sigmoid_norm", 0.0, [softplus(-0.375), softplus(0.3)]),
        ("robust", 0.0, [softplus(-1.0), softplus(0.75)]),  # that of sigmoid
        (
            "robust",
            0.2,
            [
                (0.8 * softplus(-1.0) - 0.2 * softplus(1.0)) / 0.6,
                (0.8 * softplus(0.75) - 0.2 * softplus(-0.75)) / 0.6,
            ],
        ),
    ],
)
def test_values_by_hand(loss, smoothing, expected):
    losses, chosen, rejected = preference_loss(**PAIRS, loss=loss, beta=0.5, label_smoothing=smoothing)
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)
    assert chosen.tolist() == pytest.approx([0.5, -0.5]) and rejected.tolist() == pytest.approx([-0.5, 0.25])


def test_the_default_is_dpo_with_beta_a_tenth():
    losses, *_ = preference_loss(**PAIRS)
    assert losses.tolist() == pytest.approx([softplus(-0.2), softplus(0.15)])


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    torch.manual_seed(0)
    lengths = torch.tensor([3.0, 8.0, 5.0]), torch.tensor([6.0, 2.0, 5.0])
    values = [torch.randn(3, dtype=torch.float64).mul_(3).requires_grad_() for _ in range(4)]
    smoothing = 0.3 if loss == "robust" else 0.0

    def losses(*given):
        return preference_loss(*given, *lengths, loss=loss, beta=0.7, label_smoothing=smoothing)[0]

    assert losses(*values).dtype == torch.float64
    assert torch.autograd.gradcheck(losses, values)


def test_a_pair_pushes_its_captions_apart():
    """-beta sigmoid(-beta m) for chosen, the opposite for rejected: Section 4 of the DPO paper."""
    given = {key: value.double() for key, value in PAIRS.items()}
    given["chosen"].requires_grad_(), given["rejected"].requires_grad_()
    preference_loss(**given, beta=0.5)[0].sum().backward()
    weights = [0.5 / (1 + math.exp(1.0)), 0.5 / (1 + math.exp(-0.75))]
    assert given["chosen"].grad.tolist() == pytest.approx([-w for w in weights])
    assert given["rejected"].grad.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    """Of -1000.5 and the like; bfloat16 would lose the margin in the square or the sigmoid."""
    given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in PAIRS.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, *rewards = preference_loss(**given, loss=loss, beta=0.3)
    assert losses.dtype == torch.float32 and all(one.dtype == torch.float32 for one in rewards)
    assert torch.equal(losses, preference_loss(**PAIRS, loss=loss, beta=0.3)[0])  # these values are exact in both


def test_at_the_start_the_loss_is_that_of_a_coin():
    same = PAIRS | {"chosen_reference": PAIRS["chosen"], "rejected_reference": PAIRS["rejected"]}
    for loss, value in (("sigmoid", math.log(2)), ("robust", math.log(2)), ("hinge", 1.0), ("ipo", 25.0)):
        assert preference_loss(**same, loss=loss)[0].tolist() == pytest.approx([value] * 2), loss


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "simpo"}, "loss must be one of sigmoid, ipo, hinge, robust, sigmoid_norm, got 'simpo'"),
        ({"beta": 0}, "beta must be above 0, got 0"),
        ({"beta": math.nan}, "beta must be above 0, got nan"),
        ({"label_smoothing": 0.5, "loss": "robust"}, "below 0.5"),
        ({"label_smoothing": 0.1}, "and of robust only"),
        ({"rejected": torch.zeros(3)}, r"\(3,\)"),
        ({"chosen_lengths": torch.ones(2, 1)}, r"\(2, 1\)"),
    ],
)
def test_bad_arguments_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        preference_loss(**(PAIRS | changes))


def trl_loss(given: dict, loss: str, beta: float, smoothing: float) -> torch.Tensor:
    """What trl's trainer computes of log-probabilities: its own `_compute_loss`, with a model that answers them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.trainer.dpo_trainer import DPOTrainer

    longest = int(max(given["chosen_lengths"].max(), given["rejected_lengths"].max()))
    lengths = torch.cat([given["chosen_lengths"], given["rejected_lengths"]])
    mask = torch.cat([torch.zeros(len(lengths), 1), torch.arange(longest) < lengths[:, None]], dim=1).long()
    log_probs = torch.cat([given["chosen"], given["rejected"]])[:, None] * mask[:, 1:] / lengths[:, None]
    counts = {name: torch.zeros(len(lengths), longest) for name in ("entropy", "mean_logits")}
    outputs = SimpleNamespace(log_probs=log_probs, is_top1=mask[:, 1:].bool(), **counts)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
        _metrics={"eval": {name: [] for name in TRL_METRICS}},
        loss_types=[loss],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=smoothing,
        f_divergence_type="reverse_kl",
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        use_weighting=False,
        ld_alpha=None,
        _total_train_tokens=0,
    )
    inputs = dict(input_ids=torch.ones_like(mask), attention_mask=torch.ones_like(mask), completion_mask=mask)
    inputs |= dict(ref_chosen_logps=given["chosen_reference"], ref_rejected_logps=given["rejected_reference"])
    return DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False), trainer._metrics["eval"]


TRL_METRICS = (
    "entropy num_tokens mean_token_accuracy logits/chosen logits/rejected rewards/chosen rewards/rejected"
    " rewards/accuracies rewards/margins logps/chosen logps/rejected"
).split()


@pytest.mark.needs("trl")
@pytest.mark.slow(15)
def test_losses_and_rewards_are_those_of_trl():
    torch.manual_seed(0)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        log_probs = [-30 * torch.rand(6, generator=generator, dtype=torch.float64) for _ in range(4)]
        lengths = [torch.randint(1, 20, (6,), generator=generator) for _ in range(2)]
        given = dict(zip(PAIRS, [*log_probs, *lengths], strict=True))
        for loss in LOSSES:
            smoothing, beta = (0.2 if loss == "robust" else 0.0), (0.05, 0.1, 0.5)[seed % 3]
            expected, metrics = trl_loss(given, loss, beta, smoothing)
            losses, chosen, rejected = preference_loss(**given, loss=loss, beta=beta, label_smoothing=smoothing)
            assert losses.mean().item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6), loss
            assert chosen.mean().item() == pytest.approx(metrics["rewards/chosen"][0], abs=1e-6)
            assert rejected.mean().item() == pytest.approx(metrics["rewards/rejected"][0], abs=1e-6)
            assert (chosen > rejected).double().mean().item() == pytest.approx(metrics["rewards/accuracies"][0])

import math
from functools import partial

import pytest
import torch
from espnet2.asr.specaug.specaug import SpecAug
from tiny_models import SIZES, build
from tiny_models import batch as caption_batch

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.loss.dpo import LOSSES, preference_loss
from espnet2_secap.model.prefer import STATISTICS, PreferModel, sequence_log_probs
from espnet2_secap.text.template import build_template

LENGTHS = [(9, 5, 7), (4, 8, 3), (12, 2, 5)]  # frames, prompt, chosen
REJECTED = [4, 6, 5]


def prefer(llama, **conf) -> PreferModel:
    return build(llama, model=conf, kind=PreferModel)


def batch(reference=((-20.0, -30.0),) * 3) -> dict:
    """Three pairs; references as given."""
    whole = caption_batch(LENGTHS)
    whole["chosen"], whole["chosen_lengths"] = whole.pop("caption"), whole.pop("caption_lengths")
    generator = torch.Generator().manual_seed(5)
    ids = [torch.randint(3, 300, (n,), generator=generator) for n in REJECTED]
    whole |= {"rejected": torch.nn.utils.rnn.pad_sequence(ids, True, -1), "rejected_lengths": torch.tensor(REJECTED)}
    return whole | {"pair_reference": torch.tensor(reference)}


def log_probs(model, whole) -> list[torch.Tensor]:
    with torch.no_grad():
        embedding = model.embeddings(whole)
        return [sequence_log_probs(model, embedding, whole, name) for name in ("chosen", "rejected")]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_a_batch_by_the_decoders_log_probabilities(tiny_llama, loss):
    """The captioning model's own loss of each caption alone gives the same log-probabilities."""
    smoothing = 0.1 if loss == "robust" else 0.0
    model = prefer(tiny_llama, preference_loss=loss, beta=0.3, label_smoothing=smoothing, sft_weight=0.5)
    whole, caption = batch(), build(tiny_llama)
    expected = []
    for name, lengths in (("chosen", [7, 3, 5]), ("rejected", REJECTED)):
        expected.append([])
        for i, length in enumerate(lengths):
            one = {key: whole[key][i : i + 1] for key in ("speech_lengths", "instruction_lengths")}
            one |= {"speech": whole["speech"][i : i + 1, : LENGTHS[i][0]]}
            one |= {"instruction": whole["instruction"][i : i + 1, : LENGTHS[i][1]]}
            one |= {"caption": whole[name][i : i + 1, :length], "caption_lengths": torch.tensor([length])}
            expected[-1].append(-caption(**one)[0].item() * length)
    chosen, rejected = (torch.tensor(one) for one in expected)
    lengths = whole["chosen_lengths"], whole["rejected_lengths"]
    losses, *rewards = preference_loss(
        chosen, rejected, *whole["pair_reference"].T, *lengths, loss=loss, beta=0.3, label_smoothing=smoothing
    )
    sft = -(chosen / lengths[0]).mean()
    found, stats, weight = model(**whole)
    assert weight == 3 and set(stats) == set(STATISTICS)
    assert found.item() == pytest.approx((losses.mean() + 0.5 * sft).item(), rel=1e-4)
    wanted = {
        "loss": losses.mean() + 0.5 * sft,
        "dpo_loss": losses.mean(),
        "sft_loss": sft,
        "rewards_chosen": 0.3 * (chosen + 20).mean(),
        "rewards_rejected": 0.3 * (rejected + 30).mean(),
        "margin": (rewards[0] - rewards[1]).mean(),
        "accuracy": (rewards[0] > rewards[1]).float().mean(),
        "chosen_log_prob": chosen.mean(),
        "rejected_log_prob": rejected.mean(),
        "kl": (chosen + 20).mean(),
        "length_chosen": 5.0,
        "length_rejected": 5.0,
    }
    for name, value in wanted.items():
        assert stats[name].item() == pytest.approx(float(value), rel=1e-4, abs=1e-4), name


def test_at_the_start_the_margin_is_float_noise(tiny_llama):
    """The policy is the reference, so each pair is as likely as not: log 2."""
    model, whole = prefer(tiny_llama), batch()
    whole["pair_reference"] = torch.stack(log_probs(build(tiny_llama), whole), dim=1)
    for mode in (True, False):
        loss, stats, _ = model.train(mode)(**whole)
        assert abs(stats["margin"].item()) < 1e-5 and abs(stats["kl"].item()) < 1e-4
        assert loss.item() == pytest.approx(math.log(2), abs=1e-5)


def test_the_reference_stays_that_of_the_start_in_validation(tiny_llama):
    """A known fault: the reference of an evaluation taken from the trained policy, whose margin is then 0."""
    model, whole = prefer(tiny_llama, beta=0.5), batch()
    whole["pair_reference"] = torch.stack(log_probs(model, whole), dim=1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(8):
        optimizer.zero_grad()
        model.train()(**whole)[0].backward()
        optimizer.step()
    with torch.no_grad():
        loss, stats, _ = model.eval()(**whole)
    assert stats["margin"].item() > 0.3 and stats["accuracy"].item() == 1.0 and loss.item() < math.log(2) - 0.1
    assert stats["kl"].item() == pytest.approx(
        (log_probs(model, whole)[0] - whole["pair_reference"][:, 0]).mean().item()
    )


def parts(llama, **decoder):
    bridge = QFormer(10, **SIZES, dropout=0.5)
    decoder = CausalLMDecoder(llama, **decoder)
    template = build_template("plain", {}, decoder.tokenizer, PreferModel.makes)
    return StoredEncoder(10), bridge, decoder, template


def with_lora(llama, **conf) -> PreferModel:
    torch.manual_seed(0)
    lora = {"r": 2, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.5}
    model = PreferModel(*parts(llama, lora=lora, dropout=0.5), **conf)
    with torch.no_grad():  # adapters that change something
        for name, one in model.named_parameters():
            if "lora_B" in name:
                one.normal_()
    return model.eval()


def test_nothing_drops_out_in_training(tiny_llama):
    """A known fault: dropout of bridge, LoRA or decoder is active in the policy, and was not in the reference."""
    model, whole = with_lora(tiny_llama), batch()
    expected = log_probs(model, whole)
    model.train()
    assert model.training and all(torch.equal(a, b) for a, b in zip(log_probs(model, whole), expected, strict=True))
    first, second = model(**whole), model(**whole)
    assert torch.equal(first[0], second[0])
    assert first[1]["chosen_log_prob"].item() == pytest.approx(expected[0].mean().item(), rel=1e-6)


def test_lora_is_in_the_policy_and_trained(tiny_llama):
    """The reference of a start model with adapters has them; without them it is another."""
    model, whole = with_lora(tiny_llama), batch()
    with_adapters = log_probs(model, whole)
    with model.decoder.lm.module.disable_adapter():
        assert all((a - b).abs().max() > 0.1 for a, b in zip(log_probs(model, whole), with_adapters, strict=True))
    whole["pair_reference"] = torch.stack(with_adapters, dim=1)
    loss, stats, _ = model.train()(**whole)
    assert abs(stats["margin"].item()) < 1e-5
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    moved = {name.split(".")[0] for name, p in trained.items() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"bridge", "projection", "decoder"}
    assert all("lora_" in name for name in trained if name.startswith("decoder"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_lm_in_half_precision(tiny_llama, dtype):
    """Sums and losses are float32, and the policy equals its reference from the same batch."""
    torch.manual_seed(0)
    model, whole = PreferModel(*parts(tiny_llama, dtype=dtype)).train(), batch()
    found = log_probs(model, whole)
    assert all(one.dtype == torch.float32 for one in found)
    whole["pair_reference"] = torch.stack(found, dim=1)
    loss, stats, _ = model(**whole)
    assert loss.dtype == torch.float32 and abs(stats["margin"].item()) < 1e-5
    loss.backward()
    assert model.projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("sft_weight", [0.0, 1.0])
def test_what_is_computed_again_gives_the_same_gradients(tiny_llama, sft_weight):
    grads = []
    for recompute in (True, False):
        model = prefer(tiny_llama, recompute=recompute, sft_weight=sft_weight).train()
        model(**batch())[0].backward()
        grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys() and len(grads[0]) > 10
    for name, one in grads[0].items():
        assert torch.allclose(one, grads[1][name], rtol=1e-4, atol=1e-6), name


def test_only_the_pass_over_rejected_captions_is_computed_again(tiny_llama):
    model, calls = prefer(tiny_llama).train(), []
    plain = model.decoder.log_probs

    def counted(segments, caption, **options):
        calls.append(caption.content.size(1))
        return plain(segments, caption, **options)

    model.decoder.log_probs = counted
    loss, *_ = model(**batch())
    assert calls == [6, 7]
    loss.backward()
    assert calls == [6, 7, 6]


def test_the_gradient_is_that_of_the_log_probabilities_weighted(tiny_llama):
    """DPO, Section 4: beta sigmoid(-beta m) (grad log pi(l) - grad log pi(w))."""
    model, whole = prefer(tiny_llama, beta=0.2).train(), batch()
    model(**whole)[0].backward()
    found = model.projection.weight.grad.clone()
    chosen, rejected = log_probs(model, whole)
    margin = chosen - rejected - (whole["pair_reference"][:, 0] - whole["pair_reference"][:, 1])
    weight = 0.2 * torch.sigmoid(-0.2 * margin) / 3
    model.zero_grad()
    embedding = model.embeddings(whole)
    total = sum(
        sign * (weight * sequence_log_probs(model, embedding, whole, name)).sum()
        for name, sign in (("chosen", -1), ("rejected", 1))
    )
    total.backward()
    assert torch.allclose(found, model.projection.weight.grad, rtol=1e-3, atol=1e-6)


def test_a_second_task_keeps_its_accuracy_apart(tiny_llama):
    counts = {"rate": {"fast": 2, "slow": 1}}
    given = dict(attributes=counts, attributes_weight=1.0, attributes_prompt=True)
    model, whole = prefer(tiny_llama, **given), batch()
    whole["attributes"] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    loss, stats, _ = model.train()(**whole)
    assert set(stats) == {*STATISTICS, "attributes_loss", "attributes_accuracy", "accuracy_rate"}
    assert loss.item() == pytest.approx((stats["loss"] + stats["attributes_loss"]).item(), rel=1e-6)
    assert set(PreferModel.needs({"attributes_weight": 1.0})) == {"pairs", "caption"}
    assert set(PreferModel.needs({})) == {"pairs"} and PreferModel.needs({})["pairs"].made_by == "sec_reference"
    assert set(PreferModel.needs({"condition": ["queries", "transcript"]})) == {"pairs", "text"}


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"caption_dropout": 0.1}, "caption_dropout: policy and reference draw nothing; leave it out"),
        ({"mixup": 0.4}, "mixup: policy and reference draw nothing"),
        ({"listening": True}, "listening: it measures captioning"),
        ({"label_smoothing": 0.1}, "label_smoothing 0.1: is of preference_loss: robust"),
        ({"condition": ["queries", "sound"]}, "'sound' is unknown"),
    ],
)
def test_options_that_do_not_fit_are_named(tiny_llama, conf, said):
    with pytest.raises(SecError, match=said):
        PreferModel(*parts(tiny_llama), **conf)


def test_masks_and_another_reference_are_refused(tiny_llama):
    with pytest.raises(SecError, match="--specaug: with model: prefer policy and reference draw nothing"):
        PreferModel(*parts(tiny_llama), specaug=SpecAug(time_mask_width_ratio_range=0.1))
    model = prefer(tiny_llama)
    with pytest.raises(ValueError, match="PreferModel compares itself with no reference"):
        model.set_reference(build(tiny_llama))


def test_it_decodes_and_saves_as_a_captioning_model(tiny_llama):
    from espnet2_secap.decoder.options import DecodingOptions

    model, caption = prefer(tiny_llama), build(tiny_llama)
    assert model.state_dict().keys() == caption.state_dict().keys()
    model.load_state_dict(caption.state_dict())
    whole = batch()
    given = {key: whole[key] for key in ("speech", "speech_lengths", "instruction", "instruction_lengths")}
    generate = partial(PreferModel.generate, options=DecodingOptions(max_length=5))
    assert generate(model, **given) == generate(caption, **given)


def test_a_step_takes_the_memory_of_a_captioning_step(tiny_llama, repo, monkeypatch):
    """Where the LM takes most of it; keeping both passes takes more than that."""
    monkeypatch.syspath_prepend(str(repo / "tools"))
    from benchmark_measure import memory_of

    whole = caption_batch([(4, 3, 90)] * 8)
    pairs = {key: value for key, value in whole.items() if not key.startswith("caption")}
    for name in ("chosen", "rejected"):
        pairs |= {name: whole["caption"], f"{name}_lengths": whole["caption_lengths"]}
    pairs["pair_reference"] = torch.zeros(8, 2)

    def memory(model, batch) -> int:
        model.train()(**batch)[0].backward()  # the gradients are there
        return memory_of(lambda: model(**batch)[0].backward(), "cpu")

    captioning = memory(build(tiny_llama), whole)
    shares = [memory(prefer(tiny_llama, recompute=one), pairs) / captioning for one in (True, False)]
    assert shares[0] < 1.3 < shares[1], shares

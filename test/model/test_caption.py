import pytest
import torch
from espnet2.asr.specaug.specaug import SpecAug
from tiny_models import batch, build

from espnet2_secap.bridge.linear import LinearBridge
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.model.condition import ids_segment
from espnet2_secap.text.template import Template


def test_a_batch_gives_the_loss_of_its_utterances_one_by_one(tiny_llama):
    model = build(tiny_llama)
    lengths = [(9, 5, 7), (4, 8, 3), (12, 2, 5)]
    whole = batch(lengths)
    loss, _, weight = model(**whole)
    total = 0.0
    for i, (frames, prompt, caption) in enumerate(lengths):
        alone = dict(
            speech=whole["speech"][i : i + 1, :frames],
            speech_lengths=torch.tensor([frames]),
            instruction=whole["instruction"][i : i + 1, :prompt],
            instruction_lengths=torch.tensor([prompt]),
            caption=whole["caption"][i : i + 1, :caption],
            caption_lengths=torch.tensor([caption]),
        )
        one, _, tokens = model(**alone)
        assert tokens == caption
        total += one.item() * caption
    assert weight == 15
    assert loss.item() == pytest.approx(total / 15, rel=1e-5)


def test_state_holds_trained_tensors_only_and_loads_strictly(tiny_llama, tmp_path):
    model = build(tiny_llama)
    state = model.state_dict()
    assert {key.split(".")[0] for key in state} == {"bridge", "projection"}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained <= set(state)
    other = build(tiny_llama)
    with torch.no_grad():
        other.projection.weight.zero_()
    other.load_state_dict(state)  # strict
    assert torch.equal(other.projection.weight, model.projection.weight)
    del state["projection.bias"]
    with pytest.raises(RuntimeError, match="projection.bias"):
        other.load_state_dict(state)


def test_lora_is_in_the_state(tiny_llama):
    model = build(tiny_llama)
    model.decoder = CausalLMDecoder(tiny_llama, lora={"r": 2, "target_modules": ["q_proj"]})
    names = [key for key in model.state_dict() if key.startswith("decoder")]
    assert len(names) == 4 and all("lora_" in name for name in names)


def test_an_lm_that_is_not_frozen_is_in_the_state_whole(tiny_llama):
    model, other = build(tiny_llama), build(tiny_llama)
    model.decoder, other.decoder = (CausalLMDecoder(tiny_llama, freeze=False) for _ in range(2))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(1)
    other.load_state_dict(model.state_dict())  # strict
    ours, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_specaug_masks_features_in_training_only(tiny_llama):
    model = build(tiny_llama)
    model.specaug = SpecAug(apply_time_warp=False, freq_mask_width_range=[2, 6], time_mask_width_range=[1, 4])
    heard = []
    model.bridge.register_forward_pre_hook(lambda module, args: heard.append(args[0]))
    one = batch([(9, 5, 7), (4, 8, 3)])
    model.eval()(**one)
    model.train()(**one)
    as_they_are, masked = heard
    assert torch.equal(as_they_are[:, :4], one["speech"][:, :4])
    assert (masked == 0).sum() > (as_they_are == 0).sum()
    assert torch.equal(masked[masked != 0], as_they_are[masked != 0])


def test_gradients_reach_bridge_and_projection_only(tiny_llama):
    model = build(tiny_llama).train()
    model(**batch([(9, 5, 7), (4, 8, 3)]))[0].backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum()}
    assert moved == {"bridge", "projection"}


def test_frozen_bridge_is_saved_but_not_trained(tiny_llama):
    model = build(tiny_llama, freeze_bridge=True).train()
    assert not model.bridge.training and not any(p.requires_grad for p in model.bridge.parameters())
    assert any(key.startswith("bridge.") for key in model.state_dict())
    model(**batch([(9, 5, 7)]))[0].backward()
    assert model.projection.weight.grad.abs().sum() > 0


def test_a_reference_is_compared_in_validation_and_belongs_to_no_state(tiny_llama):
    model, reference = build(tiny_llama), build(tiny_llama)
    with torch.no_grad():
        reference.projection.weight.mul_(3.0)
    before = set(model.state_dict())
    model.set_reference(reference)
    assert set(model.state_dict()) == before and not any(p.requires_grad for p in reference.parameters())
    inputs = batch([(9, 5, 7), (4, 8, 3)])
    _, stats, _ = model(**inputs)
    assert stats["reference_loss"].item() == pytest.approx(reference(**inputs)[0].item())
    assert stats["reference_loss"] != stats["loss"]
    assert "reference_loss" not in model.train()(**inputs)[1]


def test_every_caption_token_is_trained(tiny_llama):
    """The released code's shift loses the first one: with a caption of one token its loss would be empty."""
    model = build(tiny_llama)
    whole = batch([(9, 5, 3)])
    log_probs = model.decoder.log_probs(
        model.segments(**{key: value for key, value in whole.items() if not key.startswith("caption")}),
        ids_segment(whole["caption"], whole["caption_lengths"]),
    )
    loss, _, tokens = model(**whole)
    assert tokens == 3 and loss.item() == pytest.approx(-log_probs.sum().item() / 3, rel=1e-6)
    other = {**whole, "caption": whole["caption"].clone()}
    other["caption"][:, 0] = (other["caption"][:, 0] + 1) % 300
    one = {key: value[:, :1] if key == "caption" else value for key, value in whole.items()}
    one["caption_lengths"] = torch.ones_like(whole["caption_lengths"])
    assert model(**one)[0].item() == pytest.approx(-log_probs[0, 0].item(), rel=1e-5) != 0
    assert model(**other)[0] != loss


def test_what_the_model_declares(tiny_llama):
    model = build(tiny_llama)
    assert set(model.needs({})) == {"caption"} and model.needs({})["caption"].file == "captions"
    assert model.needs({})["caption"].switch is None
    assert model.texts == {"instruction": "decoder", "caption": "decoder"} and model.makes == ("queries", "instruction")
    _, stats, _ = model(**batch([(9, 5, 7), (4, 8, 3)]))
    assert stats["ppl"].item() == pytest.approx(stats["loss"].exp().item(), rel=1e-6)
    assert model.freeze_bridge is False and all(p.requires_grad for p in model.bridge.parameters())


def test_generation_is_the_decoders_with_the_templates_ends(tiny_llama):
    model, inputs = build(tiny_llama), batch([(9, 5, 7), (4, 8, 3)])
    inputs = {key: value for key, value in inputs.items() if not key.startswith("caption")}
    model.template = Template(model.template.order, 2, tuple(range(2, 200)))
    options = DecodingOptions(min_length=2, max_length=9)
    found = model.generate(options, **inputs)
    assert found == model.decoder.generate(model.segments(**inputs), options, model.template.ends)
    assert not {token for some in found[0] for token in some[0]} & set(range(2, 200))


COUNTS = {"emotion": {"angry": 1.0, "sad": 3.0}, "rate": {"fast": 2.0, "slow": 2.0}}
TARGETS = torch.tensor([[0.0, 1.0, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]])


def test_listening_is_what_the_next_utterances_speech_costs(tiny_llama):
    model = build(tiny_llama, model={"listening": True})
    inputs = batch([(9, 5, 7), (4, 8, 3), (6, 2, 5)])
    _, stats, _ = model(**inputs)
    others = {**inputs, **{name: inputs[name].roll(1, 0) for name in ("speech", "speech_lengths")}}
    shuffled = build(tiny_llama)(**others)[0].item()
    assert stats["shuffled_loss"].item() == pytest.approx(shuffled, rel=1e-5) != stats["loss"].item()
    assert stats["listening"].item() == pytest.approx(shuffled - stats["loss"].item(), abs=1e-5)
    assert stats["loss"] == build(tiny_llama)(**inputs)[1]["loss"]
    assert not {"listening", "shuffled_loss"} & set(model.train()(**inputs)[1])
    alone = model.eval()(**batch([(9, 5, 7)]))[1]
    assert alone["listening"].isnan() and alone["shuffled_loss"].isnan() and alone["loss"].isfinite()


def test_the_second_task_is_added_and_reported(tiny_llama):
    model = build(tiny_llama, model={"attributes_weight": 0.5, "attributes": COUNTS})
    inputs = batch([(9, 5, 7), (4, 8, 3)])
    loss, stats, _ = model(**inputs, attributes=TARGETS)
    plain = build(tiny_llama)(**inputs)[0].item()
    assert stats["loss"].item() == plain
    embedding = model.q_embedding(inputs["speech"], inputs["speech_lengths"])[0].mean(1)
    second = model.attributes.loss(model.attributes(embedding), TARGETS)[0].item()
    assert loss.item() == pytest.approx(plain + 0.5 * second, rel=1e-5)
    assert stats["attributes_loss"].item() == pytest.approx(second, rel=1e-5)
    assert {"accuracy", "accuracy_emotion", "accuracy_rate"} <= set(stats)
    model.train()(**inputs, attributes=TARGETS)[0].backward()
    assert model.attributes.linear.weight.grad.any() and model.bridge.queries.grad.any()


def test_the_decoder_reads_the_prediction_behind_the_queries(tiny_llama):
    options = {"attributes_weight": 0.5, "attributes_prompt": True, "attributes": COUNTS}
    model, inputs = build(tiny_llama, model=options), batch([(9, 5, 7), (4, 8, 3)])
    segments = model.segments(**inputs)
    plain = build(tiny_llama).segments(**inputs)
    place = next(i for i, one in enumerate(plain) if not one.is_ids)
    vectors, mask = segments[place].content, segments[place].mask
    assert torch.equal(vectors[:, :4], plain[place].content) and vectors.shape == (2, 6, 32) and mask.all()
    logits = model.attributes(model.q_embedding(inputs["speech"], inputs["speech_lengths"])[0].mean(1))
    torch.testing.assert_close(vectors[:, 4:], model.attributes.prompt(logits))
    inputs = {key: value for key, value in inputs.items() if not key.startswith("caption")}
    assert model.generate(DecodingOptions(max_length=4), **inputs)[0]


@pytest.mark.parametrize("name", ["attributes_prompt", "attributes_balanced"])
def test_options_of_the_second_task_without_it_are_refused(tiny_llama, name):
    with pytest.raises(SecError, match="need attributes_weight above 0"):
        build(tiny_llama, model={name: True})
    with pytest.raises(SecError, match="needs training captions"):
        build(tiny_llama, model={"attributes_weight": 1.0})


def test_caption_dropout_hides_what_is_read_and_not_what_is_predicted(tiny_llama):
    model, inputs = build(tiny_llama, dropout=0.0, model={"caption_dropout": 0.5}), batch([(9, 5, 7), (4, 8, 3)])
    plain = build(tiny_llama)(**inputs)[0].item()
    assert model(**inputs)[0].item() == plain, "in validation everything is read"
    torch.manual_seed(3)
    loss = model.train()(**inputs)[0].item()
    torch.manual_seed(3)
    target = ids_segment(inputs["caption"], inputs["caption_lengths"])
    read = torch.where(torch.rand(2, 7) < 0.5, 0, target.content)  # LLaMA's <unk>
    assert (read == 0).sum() > 3
    log_probs = model.decoder.log_probs(model.eval().segments(**inputs), target, read=read)
    assert loss == pytest.approx(-log_probs.sum().item() / 10, rel=1e-5) != plain


def test_label_smoothing_in_training_only(tiny_llama):
    model, inputs = build(tiny_llama, dropout=0.0, model={"label_smoothing": 0.2}), batch([(9, 5, 7), (4, 8, 3)])
    assert model(**inputs)[0].item() == build(tiny_llama)(**inputs)[0].item()
    target = ids_segment(inputs["caption"], inputs["caption_lengths"])
    logits = torch.cat(list(model.decoder.logits(model.segments(**inputs), target)), dim=1)
    expected = torch.nn.functional.cross_entropy(logits[target.mask], target.content[target.mask], label_smoothing=0.2)
    assert model.train()(**inputs)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_mixup_by_hand(tiny_llama, monkeypatch):
    """Three utterances, of which each is mixed with its nearest; shares as drawn."""
    model, inputs = build(tiny_llama, dropout=0.0, model={"mixup": 0.4}), batch([(9, 5, 7), (4, 8, 3), (6, 2, 5)])
    assert model(**inputs)[0].item() == build(tiny_llama)(**inputs)[0].item(), "in training only"
    vectors, mask = model.q_embedding(inputs["speech"], inputs["speech_lengths"])
    distances = torch.cdist(vectors.mean(1), vectors.mean(1)) + torch.eye(3) * 1e6
    torch.manual_seed(5)
    loss, _, weight = model.train()(**inputs)
    torch.manual_seed(5)
    shares = torch.distributions.Beta(0.4, 0.4).sample((3,))
    total = tokens = 0.0
    for i, j in enumerate(distances.argmin(1).tolist()):
        mixed = shares[i] * vectors[i] + (1 - shares[i]) * vectors[j]
        monkeypatch.setattr(model, "q_embedding", lambda *_, mixed=mixed: (mixed[None], mask[:1]))
        for one, share in ((i, shares[i]), (j, 1 - shares[i])):
            words = {key: inputs[key][i : i + 1] for key in ("speech", "speech_lengths")}
            words |= {key: inputs[key][i : i + 1] for key in ("instruction", "instruction_lengths")}
            words |= {key: inputs[key][one : one + 1] for key in ("caption", "caption_lengths")}
            own, count = model.eval().caption_loss(**words)
            total, tokens = total + share * own * count, tokens + share * count
    assert loss.item() == pytest.approx((total / tokens).item(), rel=1e-5)
    assert weight.item() == pytest.approx(tokens.item(), rel=1e-6)


def test_mixup_of_one_utterance_and_of_vectors_that_follow_the_frames(tiny_llama):
    model, alone = build(tiny_llama, dropout=0.0, model={"mixup": 0.4}), batch([(9, 5, 7)])
    assert model.train()(**alone)[0].item() == pytest.approx(build(tiny_llama)(**alone)[0].item(), rel=1e-6)
    with pytest.raises(SecError, match="mixup mixes vectors one by one"):
        CaptionModel(model.encoder, LinearBridge(10), model.decoder, model.template, mixup=0.4)

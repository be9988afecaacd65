import pytest
import torch
from espnet2.asr.specaug.specaug import SpecAug

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.encoder.stored import FeatsEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.model.checkpoint import init_from_align, load_state

SIZES = dict(num_queries=4, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, encoder_width=24)


def build(llama, freeze_bridge=False, **changes) -> CaptionModel:
    torch.manual_seed(0)
    bridge = QFormer(10, **{**SIZES, **changes})
    return CaptionModel(FeatsEncoder(10), bridge, CausalLMDecoder(llama), freeze_bridge).eval()


def batch(lengths, pad=-1):
    """(frames, prompt, caption) lengths per utterance -> a padded batch; the same utterances for the same rows."""
    columns = list(zip(*lengths, strict=True))
    generator = torch.Generator().manual_seed(1)
    frames, prompts, captions = (
        [torch.randn(n, 10, generator=generator) for n in columns[0]],
        [torch.randint(3, 300, (n,), generator=generator) for n in columns[1]],
        [torch.randint(3, 300, (n,), generator=generator) for n in columns[2]],
    )
    stack = torch.nn.utils.rnn.pad_sequence
    return dict(
        speech=stack(frames, True, 7.0),
        speech_lengths=torch.tensor(columns[0]),
        prompt=stack(prompts, True, pad),
        prompt_lengths=torch.tensor(columns[1]),
        caption=stack(captions, True, pad),
        caption_lengths=torch.tensor(columns[2]),
    )


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
            prompt=whole["prompt"][i : i + 1, :prompt],
            prompt_lengths=torch.tensor([prompt]),
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


def test_starts_from_a_first_stage_that_fits(tiny_llama, tmp_path):
    source = build(tiny_llama)
    with torch.no_grad():
        source.bridge.queries.fill_(0.5)
    torch.save(source.state_dict(), tmp_path / "align.pth")
    model = build(tiny_llama)
    init_from_align(model, tmp_path / "align.pth")
    assert (model.bridge.queries == 0.5).all()
    with pytest.raises(SecError, match=r"bridge.queries is \(1, 4, 32\) there and \(1, 6, 32\) here"):
        init_from_align(build(tiny_llama, num_queries=6), tmp_path / "align.pth")
    with pytest.raises(SecError, match="is absent.*use the same encoder, bridge"):
        init_from_align(build(tiny_llama, num_layers=3), tmp_path / "align.pth")


def test_bad_model_files_are_named(tmp_path):
    with pytest.raises(SecError, match="no such model file"):
        load_state(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(SecError, match="cut.pth: not a model file"):
        load_state(tmp_path / "cut.pth")
    torch.save({"model": {}, "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(SecError, match="something else"):
        load_state(tmp_path / "other.pth")

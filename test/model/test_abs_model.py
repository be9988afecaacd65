"""What all models share, and what every model of the registry declares."""

import inspect

import pytest
import torch
from espnet2.layers.abs_normalize import AbsNormalize

from espnet2_secap.augment.noise import FeatsNoise
from espnet2_secap.bridge.linear import LinearBridge
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.model.abs_model import AbsSECModel, Need
from espnet2_secap.tasks.parts import CHOICES, KINDS
from espnet2_secap.text.template import ROLES

MODELS = CHOICES["model"].choices()


@pytest.mark.parametrize("name", MODELS)
def test_declarations(name):
    model = CHOICES["model"].get_class(name)
    assert model.parts[0] == "encoder" and set(model.parts) <= set(KINDS)
    assert set(model.texts.values()) <= set(model.parts), "texts are cut by parts that are built"
    assert set(model.makes) <= set(ROLES)
    parameters = inspect.signature(model.__init__).parameters
    assert (model.parts_of({}), model.texts_of({}), model.makes_of({})) == (model.parts, model.texts, model.makes)
    assert set(model.parts) <= set(parameters) and ("template" in parameters) == bool(model.makes)
    needs = model.needs({})
    assert needs and all(isinstance(need, Need) for need in needs.values())
    for need in needs.values():
        assert need.switch is None or need.switch in parameters


def test_a_weight_of_zero_needs_no_data():
    align = CHOICES["model"].get_class("align")
    assert set(align.needs({})) == {"caption", "emotion", "text"}
    assert set(align.needs({"mi_weight": 0})) == {"caption", "emotion"}
    assert set(align.needs({"sccl_weight": 0.0})) == {"text"}


class Plain(AbsSECModel):
    """The shared part alone."""

    def forward(self, speech, speech_lengths, **_):
        raise NotImplementedError


class Halve(AbsNormalize):
    """Halves features, and lengths too, so that it shows whether they are handed on."""

    def forward(self, feats, lengths):
        return feats / 2, lengths // 2


def build(**options) -> Plain:
    bridge = LinearBridge(3, 3)
    torch.nn.init.eye_(bridge.linear.weight)
    torch.nn.init.zeros_(bridge.linear.bias)
    return Plain(StoredEncoder(3), bridge, **options)


def test_encoder_normalisation_noise_and_bridge_in_this_order():
    feats, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])
    output, mask = build().eval().q_embedding(feats, lengths)
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    torch.testing.assert_close(output[mask], feats[mask])
    output, mask = build(normalize=Halve()).eval().q_embedding(feats, lengths)
    assert mask.sum(1).tolist() == [2, 1]
    torch.testing.assert_close(output[mask], feats[mask] / 2)


def test_noise_while_training_only_and_of_normalised_features():
    """The shift is one vector per utterance: with halved features and a shift of 1, what is added has that scale."""
    torch.manual_seed(0)
    model = build(normalize=Halve(), specaug=FeatsNoise(shift=1.0))
    feats, lengths = torch.randn(200, 2, 3), torch.full((200,), 4)
    torch.testing.assert_close(model.eval().q_embedding(feats, lengths)[0], feats / 2)
    added = model.train().q_embedding(feats, lengths)[0] - feats / 2
    torch.testing.assert_close(added[:, 0], added[:, 1])
    assert added.std().item() == pytest.approx(1.0, rel=0.1)


def test_what_a_model_declares_if_it_says_nothing():
    model = build()
    assert model.needs({}) == {} and model.parts == ("encoder", "bridge") and model.makes == () and model.texts == {}
    assert Need("captions") == Need("captions", None)
    model.bridge.linear.bias.requires_grad_(False)
    (group,) = model.parameter_groups()
    assert [one is model.bridge.linear.weight for one in group["params"]] == [True] and list(group) == ["params"]
    assert model.collect_feats(speech=torch.zeros(1)) == {} and model.reference == []
    with pytest.raises(ValueError, match="--reference_model: Plain compares itself with no reference"):
        model.set_reference(build())

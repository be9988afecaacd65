"""What every model of the registry declares."""

import inspect

import pytest

from espnet2_secap.model.abs_model import Need
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


def test_a_model_without_reference_says_so():
    with pytest.raises(ValueError, match="AlignModel compares itself with no reference; leave it out"):
        align = CHOICES["model"].get_class("align")
        align.set_reference(align.__new__(align), None)

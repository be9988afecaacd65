import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.parts import CHOICES, KINDS, PARTS, Kind, registry


@pytest.mark.parametrize("kind, name, target", PARTS)
def test_every_part_extends_its_interface(kind, name, target):
    part = CHOICES[kind].get_class(name)
    assert f"{part.__module__}:{part.__name__}" == target


def test_a_part_declared_twice_is_named_with_both():
    with pytest.raises(SecError, match="bridge 'qformer' is declared twice: .*:QFormer and a.b:Other; rename one"):
        registry(KINDS, [*PARTS, ("bridge", "qformer", "a.b:Other")])
    with pytest.raises(SecError, match="brige 'x': no such kind; expected one of encoder"):
        registry(KINDS, [("brige", "x", "a.b:C")])


def test_a_part_of_the_wrong_kind():
    kind = Kind("espnet2_secap.bridge.abs_bridge:AbsBridge")
    choices = registry({"bridge": kind}, [("bridge", "x", "espnet2_secap.encoder.stored:StoredEncoder")])["bridge"]
    with pytest.raises(SecError, match="StoredEncoder does not extend"):
        choices.get_class("x")


def test_configurations_are_checked_before_anything_is_built():
    bridge = CHOICES["bridge"]
    with pytest.raises(SecError, match="bridge: 'qformers', expected one of qformer, linear"):
        bridge.check("qformers", {})
    with pytest.raises(SecError, match="bridge_conf of bridge: linear: unknown key 'widht'; known: hidden"):
        bridge.check("linear", {"widht": 1})
    with pytest.raises(SecError, match="unknown key 'input_size'"):
        bridge.check("linear", {"input_size": 1})  # the task's own affair
    with pytest.raises(SecError, match="decoder_conf of decoder: causal_lm: 'path' is missing"):
        CHOICES["decoder"].check("causal_lm", {})
    CHOICES["encoder"].check("stored", {})  # input_size is read from the data


def test_what_the_task_gives_goes_to_parts_that_take_it():
    linear = CHOICES["bridge"].build("linear", {"hidden_size": 3}, input_size=5, text_size=7)
    assert linear.linear.weight.shape == (3, 5)


def test_a_librarys_error_is_one_line_and_its_traceback_is_in_the_log(caplog):
    with pytest.raises(SecError, match="specaug_conf of specaug: specaug: .*time_mask_width") as err:
        CHOICES["specaug"].build("specaug", {"apply_time_mask": True, "apply_time_warp": False})
    assert "\n" not in str(err.value)
    assert "Traceback" in caplog.text and "specaug: specaug cannot be built" in caplog.text


def test_optional_parts_may_be_none():
    assert CHOICES["normalize"].get_class(None) is None
    assert None in CHOICES["normalize"].choices() and None not in CHOICES["model"].choices()

"""What a checkpoint holds, and starting a model from parts of another."""

import pytest
import torch
from tiny_models import SIZES, build

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import init_model, leave_out_frozen, load_state, split_source


def test_starts_from_a_first_stage_that_fits(tiny_llama, tmp_path):
    source = build(tiny_llama)
    with torch.no_grad():
        source.bridge.queries.fill_(0.5)
    torch.save(source.state_dict(), tmp_path / "align.pth")
    model = build(tiny_llama)
    assert init_model(model, str(tmp_path / "align.pth")) == ["bridge", "projection"]
    assert (model.bridge.queries == 0.5).all() and torch.equal(model.projection.weight, source.projection.weight)
    with pytest.raises(SecError, match=r"bridge.queries is \(1, 4, 32\) there and \(1, 6, 32\) here"):
        init_model(build(tiny_llama, num_queries=6), str(tmp_path / "align.pth"))
    with pytest.raises(SecError, match="is absent.*use the same bridge"):
        init_model(build(tiny_llama, num_layers=3), str(tmp_path / "align.pth"))


def test_starts_from_some_parts_only(tiny_llama, tmp_path):
    source, model = build(tiny_llama), build(tiny_llama)
    with torch.no_grad():
        source.bridge.queries.fill_(0.5)
        source.projection.weight.fill_(0.25)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    assert init_model(model, f"{tmp_path}/a.pth:projection") == ["projection"]
    assert (model.projection.weight == 0.25).all() and not (model.bridge.queries == 0.5).any()
    with pytest.raises(SecError, match="the file has no part 'estimator'; it has bridge, projection"):
        init_model(model, f"{tmp_path}/a.pth:bridge,estimator")
    torch.save({"estimator.x": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(SecError, match="nothing in common"):
        init_model(model, f"{tmp_path}/b.pth")


def test_the_text_branch_of_the_first_stage_is_left_behind(tiny_llama, tmp_path):
    """A text encoder of another width than the bridge's has a projection that the second stage has no use for."""
    first = QFormer(10, **SIZES, text_size=48)
    torch.save({f"bridge.{key}": value for key, value in first.state_dict().items()}, tmp_path / "align.pth")
    model = build(tiny_llama)
    assert init_model(model, str(tmp_path / "align.pth")) == ["bridge"]
    assert torch.equal(model.bridge.queries, first.queries)


def test_bad_model_files_are_named(tmp_path):
    with pytest.raises(SecError, match="no such model file"):
        load_state(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(SecError, match="cut.pth: not a model file"):
        load_state(tmp_path / "cut.pth")
    torch.save({"model": {}, "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(SecError, match="something else"):
        load_state(tmp_path / "other.pth")


def test_a_model_whose_training_diverged_is_neither_decoded_nor_started_from(tmp_path):
    state = {"bridge.weight": torch.tensor([[1.0, float("nan")]]), "bridge.bias": torch.ones(2)}
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(SecError, match="nan.pth: its training has diverged: .* not finite in bridge.weight;"):
        load_state(tmp_path / "nan.pth")
    with pytest.raises(SecError, match="has diverged"):
        init_model(torch.nn.ModuleDict({"bridge": torch.nn.Linear(2, 1)}), f"{tmp_path}/nan.pth:bridge")


class Named(torch.nn.Linear):
    """A part whose weights config.yaml names: the weight is frozen, the bias is trained."""

    is_named_pretrained = True

    def __init__(self):
        super().__init__(2, 2)
        self.weight.requires_grad_(False)
        self.register_buffer("table", torch.ones(2))


class Whole(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.decoder = Named()
        self.bridge = torch.nn.Linear(2, width)
        self.projection = torch.nn.Linear(width, width)
        leave_out_frozen(self)


def test_what_is_frozen_in_named_parts_is_left_out_and_not_missed():
    model, other = Whole(), Whole()
    model.bridge.requires_grad_(False)  # frozen, but nothing names where it comes from
    state = model.state_dict()
    assert set(state) == {
        "decoder.bias", "bridge.weight", "bridge.bias", "projection.weight", "projection.bias",
    }  # fmt: skip
    other.load_state_dict(state)
    assert torch.equal(other.decoder.bias, model.decoder.bias)
    assert not torch.equal(other.decoder.weight, model.decoder.weight)
    with pytest.raises(RuntimeError, match="decoder.bias"):
        other.load_state_dict({key: value for key, value in state.items() if key != "decoder.bias"})
    assert set(torch.nn.Sequential(model).state_dict()) == {f"0.{key}" for key in state}


def test_what_a_named_part_changed_is_kept():
    """Kind: weights that a library changes behind our back (PiSSA): the folder no longer gives them."""
    model, other = Whole(), Whole()
    model.decoder.from_folder, other.decoder.from_folder = {"table"}, {"table"}
    state = model.state_dict()
    assert {"decoder.bias", "decoder.weight"} <= set(state) and "decoder.table" not in state
    other.load_state_dict(state)
    assert torch.equal(other.decoder.weight, model.decoder.weight)


def test_three_faults_are_named_and_the_others_counted(tmp_path):
    def message(state) -> str:
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(SecError) as caught:
            init_model(Whole(), f"{tmp_path}/a.pth:bridge,projection")
        return str(caught.value)

    state = {key: value for key, value in Whole().state_dict().items() if not key.startswith("decoder")}
    del state["bridge.bias"]
    assert "bridge.bias is absent; use the same bridge, projection and sizes in both" in message(state)
    state["bridge.odd"] = torch.zeros(1)
    state["projection.weight"] = torch.zeros(4, 3)
    said = message(state)
    assert "bridge.bias is absent; bridge.odd is left over; projection.weight is (4, 3) there and (3, 3) here" in said
    assert "more" not in said
    state["projection.bias"] = torch.zeros(4)
    state["projection.odd"] = torch.zeros(4)
    assert "bridge.odd is left over; projection.odd is left over; and 2 more; use" in message(state)


def test_only_the_parts_asked_for_are_changed(tmp_path):
    source, model = Whole(), Whole()
    torch.save(source.state_dict(), tmp_path / "a.pth")
    before = model.projection.weight.clone()
    assert init_model(model, f"{tmp_path}/a.pth:bridge") == ["bridge"]
    assert torch.equal(model.bridge.weight, source.bridge.weight) and torch.equal(model.projection.weight, before)
    with pytest.raises(SecError, match="the model has no part 'estimator'; it has decoder, bridge, projection"):
        torch.save({"estimator.x": torch.zeros(1), **source.state_dict()}, tmp_path / "b.pth")
        init_model(model, f"{tmp_path}/b.pth:estimator")


def test_parts_stand_behind_the_last_colon(tmp_path):
    assert split_source("a/b.pth") == ("a/b.pth", None)
    assert split_source("a/b.pth:bridge,projection") == ("a/b.pth", ["bridge", "projection"])
    assert split_source("C:a.pth") == ("C:a.pth", None), "a dot is in no part's name"
    path = tmp_path / "x:bridge"
    path.touch()
    assert split_source(str(path)) == (str(path), None), "a file of that name comes first"
    assert split_source(f"{path}:bridge") == (str(path), ["bridge"])

"""What a checkpoint holds, and starting a model from parts of another."""

import pytest
import torch
from tiny_models import SIZES, build

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import init_model, load_state, split_source


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


def test_file_and_parts(tmp_path):
    assert split_source("exp/a.pth") == ("exp/a.pth", None)
    assert split_source("exp/a.pth:bridge,projection") == ("exp/a.pth", ["bridge", "projection"])
    odd = tmp_path / "a:b"
    odd.touch()
    assert split_source(str(odd)) == (str(odd), None)

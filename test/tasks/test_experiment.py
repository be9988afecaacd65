import os
import shutil

import numpy as np
import pytest
import yaml

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.experiment import FORMAT, KEY, find_model, located, portable, read_config


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe's folder, as the current one, with parts and an experiment."""
    for name in ("pretrained/llama", "exp/sec_a", "exp/sec_stats/train"):
        (tmp_path / "recipe" / name).mkdir(parents=True)
    np.savez(tmp_path / "recipe/exp/sec_stats/train/feats_stats.npz", count=1)
    (tmp_path / "recipe/prompts.txt").write_text("how?\n")
    monkeypatch.chdir(tmp_path / "recipe")
    return tmp_path / "recipe"


CONF = {
    "decoder_conf": {"path": "pretrained/llama", "dtype": "float32"},
    "normalize_conf": {"stats_file": "exp/sec_stats/train/feats_stats.npz"},
    "front_end": {"encoder_conf": {"path": "TencentGameMate/chinese-hubert-large", "layer": "last"}},
    "prompts": "prompts.txt",
    "seed": 0,
}


def test_a_recipe_can_be_moved_with_its_experiments(recipe, tmp_path, monkeypatch):
    folder = recipe / "exp" / "sec_a"
    conf = portable(CONF, folder)
    assert conf["decoder_conf"] == {"path": "../../pretrained/llama", "dtype": "float32"}
    assert conf["normalize_conf"] == {"stats_file": "./feats_stats.npz"} and conf["prompts"] == "./prompts.txt"
    assert conf["front_end"] == CONF["front_end"], "a name stays a name"
    assert conf[KEY] == FORMAT and (folder / "feats_stats.npz").exists() and (folder / "prompts.txt").exists()
    assert portable(located(conf, folder), folder) == conf, "written again, it says the same"
    shutil.move(recipe, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    found = located(conf, tmp_path / "moved/exp/sec_a")
    for path in (found["decoder_conf"]["path"], found["normalize_conf"]["stats_file"], found["prompts"]):
        assert os.path.exists(path), path


def test_paths_written_by_hand_are_looked_for_around_the_experiment(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere/pretrained/llama").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = located(CONF, recipe / "exp" / "sec_a")
    assert os.path.samefile(found["decoder_conf"]["path"], recipe / "pretrained/llama")
    assert found["front_end"]["encoder_conf"]["path"] == "TencentGameMate/chinese-hubert-large"


def test_an_experiment_that_was_moved_out_of_its_recipe_finds_the_parts_there(recipe, tmp_path):
    conf = portable(CONF, recipe / "exp" / "sec_a")
    shutil.move(recipe / "exp" / "sec_a", tmp_path / "elsewhere")
    found = located(conf, tmp_path / "elsewhere")  # the recipe's folder is the current one
    assert os.path.samefile(found["decoder_conf"]["path"], recipe / "pretrained/llama")


def test_configurations_that_cannot_be_read(tmp_path):
    def write(conf):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(conf))
        return tmp_path / "config.yaml"

    with pytest.raises(SecError, match="config.yaml: no such file; an experiment has config.yaml beside"):
        read_config(tmp_path / "config.yaml", {})
    for conf, message in [
        ({"prompt_bos": True, "model": "caption"}, "made by 0.1.0 of this package.*train or import the model again"),
        ({KEY: FORMAT + 1}, r"made by a newer version \(format 3\).*update this package"),
        ({KEY: "x"}, "made by a newer version"),
    ]:
        with pytest.raises(SecError, match=message):
            read_config(write(conf), {})
    assert vars(read_config(write({"model": "caption"}), {"seed": 3})) == {"model": "caption", "seed": 3}


def test_the_model_file_of_an_experiment(tmp_path):
    with pytest.raises(SecError, match="none: no such experiment"):
        find_model(tmp_path / "none")
    with pytest.raises(SecError, match="has no model file"):
        find_model(tmp_path)
    for name in ("latest.pth", "valid.loss.best.pth", "valid.loss.ave.pth"):
        (tmp_path / name).touch()
        assert find_model(tmp_path) == (tmp_path / "config.yaml", tmp_path / name)
    assert find_model(tmp_path / "latest.pth") == (tmp_path / "config.yaml", tmp_path / "latest.pth")

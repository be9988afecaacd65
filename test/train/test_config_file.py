import pytest
import yaml
from espnet2.tasks import abs_task

from espnet2_secap.train.config_file import config_written_by


def add_folder(conf: dict, folder) -> dict:
    return conf | {"folder": folder.name}


def open_config(folder):
    """As ESPnet's task opens it."""
    return (abs_task.Path(folder) / "config.yaml").open("w", encoding="utf-8")


def test_config_yaml_is_changed_and_replaced_only_when_it_is_complete(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("earlier")
    with config_written_by(add_folder):
        with open_config(tmp_path) as file:
            file.write("model: 说\n")
            assert config.read_text() == "earlier"
            file.write("b: 1\na: 2\n")
    written = config.read_text(encoding="utf-8")
    assert list(yaml.safe_load(written).items()) == [("model", "说"), ("b", 1), ("a", 2), ("folder", tmp_path.name)]
    assert "说" in written and [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_an_error_while_writing_leaves_the_earlier_one(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("earlier")
    with pytest.raises(KeyError), config_written_by(add_folder):
        with open_config(tmp_path) as file:
            file.write("model: half")
            raise KeyError
    assert config.read_text() == "earlier" and [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_other_files_and_the_time_after_it_are_espnet_s_own(tmp_path):
    plain = abs_task.Path
    with config_written_by(add_folder):
        with (abs_task.Path(tmp_path) / "other").open("w") as file:
            file.write("x: 1")
        (tmp_path / "config.yaml").write_text("read")
        with (abs_task.Path(tmp_path) / "config.yaml").open() as file:
            assert file.read() == "read"
        assert abs_task.Path is not plain
    assert abs_task.Path is plain and (tmp_path / "other").read_text() == "x: 1"

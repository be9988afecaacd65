import pytest
from espnet2.tasks import abs_task

from espnet2_secap.train.config_file import written_whole


def test_config_yaml_is_replaced_only_when_it_is_complete(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("earlier")
    with written_whole():
        with (abs_task.Path(tmp_path) / "config.yaml").open("w", encoding="utf-8") as file:
            file.write("la")
            assert config.read_text() == "earlier"
            file.write("ter")
    assert config.read_text() == "later" and [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_an_error_while_writing_leaves_the_earlier_one(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("earlier")
    with pytest.raises(KeyError), written_whole():
        with (abs_task.Path(tmp_path) / "config.yaml").open("w") as file:
            file.write("half")
            raise KeyError
    assert config.read_text() == "earlier" and [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_other_files_and_the_time_after_it_are_espnet_s_own(tmp_path):
    plain = abs_task.Path
    with written_whole():
        with (abs_task.Path(tmp_path) / "other").open("w") as file:
            file.write("x")
        (tmp_path / "config.yaml").write_text("read")
        assert (abs_task.Path(tmp_path) / "config.yaml").open().read() == "read"
        assert abs_task.Path is not plain
    assert abs_task.Path is plain and (tmp_path / "other").read_text() == "x"

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.pretrained import is_hub_name, load_pretrained


@pytest.mark.parametrize("path", ["/no/such/folder", "./llama", "a/b/c", "here/llama", "~/llama"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(path, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name(path)
    with pytest.raises(SecError, match=f"decoder_conf path: {path}: no such folder"):
        load_pretrained("AutoModelForCausalLM", path, "decoder_conf path")


@pytest.mark.parametrize("path", ["bert-base-chinese", "minlik/chinese-llama-7b-merged"])
def test_names_of_the_hub(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(path)
    with pytest.raises(SecError, match=f"x: '{path}' is neither a folder here nor a model that could be fetched"):
        load_pretrained("AutoModel", path, "x")

"""Kind: a pretrained folder that is not whole is named: broken download, git-LFS pointer, adapter, half a tokenizer."""

import json
import shutil

import pytest
from tiny import make_llama, make_qwen

from espnet2_secap.errors import SecError
from espnet2_secap.model_folder import check_model_folder, check_tokenizer_folder, is_tiktoken

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_llama(tmp_path_factory.mktemp("whole") / "llama")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "llama")


def says(match, check, folder):
    with pytest.raises(SecError, match=match) as caught:
        check(folder, "decoder_conf path")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_whole_folder_passes(folder):
    check_model_folder(folder, "x")
    check_tokenizer_folder(folder, "x")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_git_lfs_pointer_is_named(folder, name):
    (folder / name).write_text(POINTER)
    says(f"{name}: is a git-LFS pointer.*git lfs pull", check_model_folder, folder)


@pytest.mark.parametrize("length", [0, 4, 100, -1, 1])
def test_weights_of_another_length_than_their_header_says(folder, length):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole + b"x" if length == 1 else whole[:length])
    says("model.safetensors: is (empty|cut short|no safetensors)", check_model_folder, folder)


def test_what_a_broken_download_leaves(folder):
    (folder / "model.safetensors").rename(folder / "model.safetensors.1f.incomplete")
    says("no weights .*broken off .model.safetensors.1f.incomplete.*fetch", check_model_folder, folder)
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1-of-2.safetensors").touch()
    says("1 of 2 files of weights are missing .model-2-of-2", check_model_folder, folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    says("has no weight_map", check_model_folder, folder)
    (folder / "config.json").write_text('{"model_type": "lla')
    says("config.json: is no JSON or cut short", check_model_folder, folder)
    (folder / "config.json").unlink()
    says("has no config.json", check_model_folder, folder)


def test_an_adapter_is_no_model(folder):
    """transformers would load the model that the adapter names, from wherever that is."""
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/other"}')
    says("adapter of org/other .*merge it", check_model_folder, folder)
    (folder / "config.json").unlink()
    says("adapter of org/other", check_tokenizer_folder, folder)


def test_a_folder_without_a_tokenizer_gets_no_empty_one(folder):
    (folder / "tokenizer.model").unlink()
    says("has no tokenizer", check_tokenizer_folder, folder)
    (folder / "vocab.json").write_text("{}")
    says("vocab.json without merges.txt", check_tokenizer_folder, folder)
    (folder / "vocab.json").write_text(POINTER)
    says("vocab.json: is a git-LFS pointer", check_tokenizer_folder, folder)
    (folder / "vocab.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    check_tokenizer_folder(folder, "x")


@pytest.mark.parametrize("name", ["tokenizer.model", "qwen.tiktoken", "tiktoken.model"])
def test_tiktokens_files_are_no_sentencepiece_models(folder, name, tmp_path):
    assert not is_tiktoken(folder / "tokenizer.model")
    (folder / "tokenizer.model").unlink()
    (folder / name).write_text("IQ== 0\nIg== 1\n5Li/ 2\n")
    assert is_tiktoken(folder / name)
    says(f"{name}: is in tiktoken's format", check_tokenizer_folder, folder)
    qwen = make_qwen(tmp_path / "qwen")  # with a tokenizer.json beside it all is well
    shutil.copy(folder / name, qwen)
    check_tokenizer_folder(qwen, "x")

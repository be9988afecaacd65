"""Whether a transformers folder is a whole model, as far as its files tell without reading a weight."""

import json
import re
import struct
from pathlib import Path

from espnet2_secap.errors import SecError, few

LFS = b"version https://git-lfs"  # how the file begins that stands for another one in a git-LFS checkout
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
    "sentencepiece.model", "spm.model", "source.spm", "vocab.spm", "bpe.codes", "prophetnet.tokenizer",
)  # fmt: skip
WITHOUT_FILES = ("ByT5", "Canine", "Perceiver")  # tokenizers of bytes and characters


def check_model_folder(folder: Path, what: str) -> None:
    """See that a folder holds a model that can be loaded.

    Args:
        folder: is there.
        what: the option that named it, for the error.

    Raises:
        SecError: an incomplete download, a git-LFS pointer, an adapter without its model, a file cut short.
    """
    check_config(folder, what)
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return _check_weights(folder / name, what)
        if index.is_file():
            return _check_shards(folder, index, what)
    raise SecError(
        f"{what}: {folder}: has no weights ({' or '.join(WEIGHTS)}){_unfinished(folder)}; fetch the model again"
    )


def check_config(folder: Path, what: str) -> None:
    """See that a folder says of which kind its model is.

    Raises:
        SecError: no config.json, a broken one, or an adapter alone.
    """
    if (folder / "adapter_config.json").exists():
        base = _json(folder / "adapter_config.json", what).get("base_model_name_or_path")
        raise SecError(
            f"{what}: {folder}: holds an adapter of {base} (adapter_config.json) and no model of its own; merge it into"
            " its model with peft's merge_and_unload, or give the model and train with decoder_conf: {lora: ...}"
        )
    if not (folder / "config.json").is_file():
        raise SecError(
            f"{what}: {folder}: has no config.json{_unfinished(folder)}; give a transformers folder, or a hub name"
        )
    _json(folder / "config.json", what)


def check_tokenizer_folder(folder: Path, what: str) -> None:
    """See that a folder holds a tokenizer; transformers makes an empty one where its files are missing.

    Raises:
        SecError: no file of a tokenizer, half of one, a git-LFS pointer, or tiktoken's format.
    """
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        check_model_folder(folder, what)
    found = [folder / name for name in TOKENIZERS if (folder / name).is_file()]
    for file in found:
        _check_pointer(file, what)
    tiktoken = sorted(folder.glob("*.tiktoken")) + sorted(folder.glob("tiktoken.model"))
    tiktoken += [file for file in found if file.suffix == ".model" and is_tiktoken(file)]
    if tiktoken and not (folder / "tokenizer.json").is_file():
        raise SecError(
            f"{what}: {tiktoken[0]}: is in tiktoken's format, which is not read; give the model's release in"
            " transformers' format, which has a tokenizer.json"
        )
    if not found and not _reads_bytes(folder, what):
        raise SecError(
            f"{what}: {folder}: has no tokenizer (tokenizer.json, tokenizer.model, vocab.txt, ...)"
            f"{_unfinished(folder)}; copy the tokenizer's files of that model into it"
        )
    if [file.name for file in found] == ["vocab.json"] and not (folder / "merges.txt").is_file():
        raise SecError(
            f"{what}: {folder}: has vocab.json without merges.txt, half of a tokenizer; copy merges.txt or"
            " tokenizer.json of that model into it"
        )


def is_tiktoken(file: Path) -> bool:
    """Whether a tokenizer.model has tiktoken's lines (token in base64, rank) instead of sentencepiece's bytes."""
    with open(file, "rb") as stream:
        return bool(re.fullmatch(rb"[A-Za-z0-9+/]+=* \d+\s*", stream.readline(1000)))


def _json(file: Path, what: str) -> dict:
    """An object from a JSON file."""
    _check_pointer(file, what)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SecError(f"{what}: {file}: is no JSON or cut short ({err}); fetch the model again") from err
    if not isinstance(content, dict):
        raise SecError(f"{what}: {file}: is no JSON object; fetch the model again")
    return content


def _reads_bytes(folder: Path, what: str) -> bool:
    """Whether the folder's tokenizer needs no vocabulary."""
    file = folder / "tokenizer_config.json"
    return file.is_file() and str(_json(file, what).get("tokenizer_class")).startswith(WITHOUT_FILES)


def _check_shards(folder: Path, index: Path, what: str) -> None:
    """All files that an index of weights names must be there, and whole."""
    try:
        files = sorted(set(_json(index, what)["weight_map"].values()))
    except (KeyError, AttributeError, TypeError) as err:
        raise SecError(f"{what}: {index}: has no weight_map; fetch the model again") from err
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise SecError(
            f"{what}: {folder}: {len(missing)} of {len(files)} files of weights are missing"
            f" ({few(missing, 5)}){_unfinished(folder)}; fetch the model again"
        )
    for file in files:
        _check_weights(folder / file, what)


def _check_pointer(file: Path, what: str) -> None:
    with open(file, "rb") as stream:
        if stream.read(len(LFS)) == LFS:
            raise SecError(f"{what}: {file}: is a git-LFS pointer, not the file itself; run `git lfs pull` there")


def _check_weights(file: Path, what: str) -> None:
    """A file of weights must be as long as its header says; torch's own files are checked when they are read."""
    _check_pointer(file, what)
    size = file.stat().st_size
    if not size:
        raise SecError(f"{what}: {file}: is empty{_unfinished(file.parent)}; fetch it again")
    if file.suffix != ".safetensors":
        return
    with open(file, "rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        try:
            tensors = json.loads(stream.read(length)) if length < size else {}
            ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as err:
            raise SecError(f"{what}: {file}: is no safetensors file ({type(err).__name__}); fetch it again") from err
    wanted = 8 + length + max(ends, default=0)
    if length >= size or size != wanted:
        raise SecError(
            f"{what}: {file}: is cut short or damaged ({size} bytes, its header says {wanted}); fetch it again"
        )


def _unfinished(folder: Path) -> str:
    """What a download that was broken off has left, for a message."""
    left = sorted(path.name for path in folder.rglob("*.incomplete"))
    return f", but a download that was broken off ({left[0]})" if left else ""

"""The configuration of an experiment's folder: written so that the folder can be moved, and read from any place."""

import argparse
import os
import re
import shutil
from pathlib import Path

from espnet2_secap.data.io import atomic_write, read_yaml
from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import word_languages
from espnet2_secap.text.clues import clue_languages
from espnet2_secap.text.prompts import prompt_languages
from espnet2_secap.values import checked

FORMAT = 2  # of config.yaml; 1 was that of version 0.1.0
KEY = "sec_format"
# Keys whose values may be files or folders.
PATHS = ("path", "init", "stats_file", "prompts", "reference_model", "attributes_words", "emotion_classes")
PATHS += ("clues_grammar", "clues_words")
MODEL_FILES = tuple(
    ".safetensors .bin .pt .pth .ckpt .npz .json .model .vocab .txt .tiktoken .jinja .py .yaml .yml".split()
)
LEFT_BY_TRAINING = frozenset(
    "training_args.bin trainer_state.json optimizer.pt optimizer.bin scheduler.pt scheduler.bin scaler.pt"
    " all_results.json train_results.json eval_results.json requirements.txt license.txt".split()
)
# Small files, copied into the experiment.
KEPT = {"stats_file": "feats_stats.npz", "prompts": "prompts.txt", "attributes_words": "words.json"}
KEPT |= {"clues_grammar": "clues.json", "clues_words": "clues_words.json"}
OWN = {"prompts": prompt_languages, "attributes_words": word_languages}
OWN |= {"clues_grammar": clue_languages, "clues_words": word_languages}  # names of files of the package


def portable(conf: dict, folder: Path) -> dict:
    """A configuration for `folder`/config.yaml: paths relative to the folder, small files copied into it.

    Paths of files and folders that are there begin with a dot then; what does not is a name.
    """
    return _changed(conf, lambda key, value: _relative(key, value, folder)) | {KEY: FORMAT}


def _relative(key: str, value: str, folder: Path) -> str:
    if not os.path.exists(value):
        return value
    if key in KEPT and os.path.isfile(value):
        target = folder / KEPT[key]
        if not (target.exists() and os.path.samefile(value, target)):
            with atomic_write(target, "wb") as file, open(value, "rb") as source:
                shutil.copyfileobj(source, file)
        value = str(target)
    relative = os.path.relpath(value, folder)
    return relative if relative.startswith(".") else f"./{relative}"


def located(conf: dict, folder: Path) -> dict:
    """What `portable` wrote, with paths that this process can open.

    A path that is not there, or that a person wrote without a dot, is looked for in the folder, in those above it
    (where the recipe lies) and then in the current one: so the folder may also be moved out of its recipe.
    """
    return _changed(conf, lambda key, value: _located(value, folder))


def absolute(conf: dict) -> dict:
    """What `located` gave, with paths that stay right when the process goes to another folder."""
    return _changed(conf, lambda key, value: os.path.abspath(value) if os.path.exists(value) else value)


def _located(value: str, folder: Path) -> str:
    value = os.path.expanduser(value)
    if os.path.isabs(value):
        return value
    if value.startswith(".") and (folder / value).exists():
        return os.path.relpath(folder / value)
    name = re.sub(r"^(\.{1,2}/+)+", "", value)
    for place in (folder, *list(folder.resolve().parents)[:3], Path()):
        if (place / name).exists():
            return os.path.relpath(place / name)
    return os.path.relpath(folder / value) if value.startswith(".") else value


def _changed(conf: dict, change) -> dict:
    """`conf` with every path of it changed, also in dictionaries within it."""
    output = {}
    for key, value in conf.items():
        if isinstance(value, dict):
            output[key] = _changed(value, change)
        else:
            named = key in PATHS and isinstance(value, str) and value  # a file or folder, or a name of something
            own = value in OWN.get(key, list)()  # also where a folder is called zh
            output[key] = change(key, value) if named and not own else value
    return output


def named_files(conf: dict) -> list[str]:
    """The files and folders that a configuration names: pretrained parts, statistics, prompts."""
    inside = [file for value in conf.values() if isinstance(value, dict) for file in named_files(value)]
    return inside + [value for key, value in conf.items() if key in PATHS and isinstance(value, str)]


def model_files(folder: str | Path) -> list[str]:
    """The files in the folder of a pretrained part that decide what it is: weights, configurations, tokenizer.

    Notes, weights in formats of other libraries, subfolders and what a training left there are none of them.
    """
    names = (name for name in sorted(os.listdir(folder)) if not name.startswith("."))
    names = (name for name in names if name.endswith(MODEL_FILES) and name.lower() not in LEFT_BY_TRAINING)
    return [path for path in (os.path.join(folder, name) for name in names) if os.path.isfile(path)]


def read_config(config_file: str | Path, defaults: dict) -> argparse.Namespace:
    """The configuration of a trained model over the defaults of today.

    Raises:
        SecError: missing, not YAML, or of a version that this one cannot read.
    """
    config_file = Path(config_file)
    if not config_file.is_file():
        raise SecError(
            f"{config_file}: no such file; an experiment has config.yaml beside its model files: train the model"
            " (stages 5 and 6), or copy the whole folder"
        )
    conf = read_yaml(config_file)
    old = {"align_model", "prompt_bos"} & set(conf)
    if old or not isinstance(conf.get(KEY, FORMAT), int) or conf.get(KEY, FORMAT) > FORMAT:
        version = "0.1.0" if old else f"a newer version (format {conf.get(KEY)})"
        what = "train or import the model again" if old else "update this package"
        raise SecError(f"{config_file}: made by {version} of this package, which this one cannot read; {what}")
    for key in [key for key, value in defaults.items() if isinstance(value, dict) and key in conf]:
        conf[key] = checked(f"{config_file}: {key}", conf[key] or {}, dict)
    return argparse.Namespace(**(defaults | located(conf, config_file.parent)))


def find_model(path: str | Path) -> tuple[Path, Path]:
    """The config.yaml and the model file of an experiment's folder, or of one of its model files.

    Of a folder it is the average of the best epochs where there is one, else the best by the validation loss, else
    the last.

    Raises:
        SecError: there is none.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path.parent / "config.yaml", path
    if not path.is_dir():
        raise SecError(f"{path}: no such experiment; give a trained model's folder, such as exp/sec_caption_hubert")
    for name in ("valid.loss.ave.pth", "valid.loss.best.pth", "latest.pth"):
        if (path / name).is_file():
            return path / "config.yaml", path / name
    raise SecError(f"{path}: has no model file (valid.loss.ave.pth, valid.loss.best.pth or latest.pth); train it first")


def start_config(source: str, *taken: str) -> dict | None:
    """The config.yaml beside a model file that a training starts from.

    Args:
        source: of --init_model.
        taken: names of parts.

    Returns:
        None where none of these parts is taken from it, or it has no config.yaml.
    """
    from espnet2_secap.model.checkpoint import split_source  # imports torch

    path, parts = split_source(source)
    config = Path(path).parent / "config.yaml"
    if (parts is not None and not set(taken) & set(parts)) or not config.is_file():
        return None
    return located(read_yaml(config), config.parent)

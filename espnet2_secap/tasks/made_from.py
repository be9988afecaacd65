"""What an experiment's weights are made from (made_from.json), and what a resumed training may change.

Files count by content: a moved recipe, another number of jobs, or stage 2 run again on the same data change nothing.
"""

import argparse
import hashlib
import inspect
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from espnet2_secap.data.io import good_lines, read_kaldi, read_yaml, write_json
from espnet2_secap.data.scp import read_matrix
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.model.checkpoint import load_state, split_source
from espnet2_secap.process.jobs import file_digest, fingerprint
from espnet2_secap.tasks.experiment import KEY, PATHS, located, model_files
from espnet2_secap.tasks.parts import CHOICES
from espnet2_secap.train.divergence import WAY_OUT

NAME = "made_from.json"
SHOWN = 8  # differences that a message lists

# What may change on the way: where and how fast it runs, how long, what is logged and kept.
FREE = frozenset(
    "config print_config required version log_level log_interval dry_run output_dir resume ngpu train_nproc num_workers"
    " multiprocessing_distributed local_rank unused_parameters gradient_as_bucket_view cudnn_enabled cudnn_benchmark"
    " cudnn_deterministic detect_anomaly max_epoch patience early_stopping_criterion keep_nbest_models"
    " nbest_averaging_interval checkpoint_interval num_att_plot use_matplotlib use_tensorboard"
    " create_graph_in_tensorboard use_wandb max_cache_size valid_max_cache_size max_cache_fd deepspeed_config made_from"
    " distributed missing_text".split()
)
FREE_PREFIXES = ("dist_", "wandb_")
# By the task, in config.yaml.
FILLED = ("emotions", "attributes", "clue_words", "front_end", "template_conf", "encoder_conf.input_size", KEY)
DATA = (
    "train_data_path_and_name_and_type",
    "valid_data_path_and_name_and_type",
    "train_shape_file",
    "valid_shape_file",
)
LISTS = ("init_model", "init_param")


def made_from(args: argparse.Namespace, earlier: Mapping | None = None) -> dict:
    """Options, and names and digests of files, of a training; plain values for JSON.

    Args:
        args: of sec_train, before a model is built.
        earlier: what an earlier run has recorded: files whose stamps are the same are not read again.

    Raises:
        SecError, OSError: data or a model file that cannot be read.
    """
    options, files = {}, {}
    known = (earlier or {}).get("files", {})
    for name, value in vars(args).items():
        if name not in DATA:
            options |= _flat(name, value)
    files |= _named_files(options, known)
    for name in LISTS:
        for number, source in enumerate(options.pop(name, None) or [], 1):
            path, parts = split_source(source) if name == "init_model" else (source.split(":")[0], source)
            label = f"{name} {number}" if number > 1 else name
            options[label] = path
            options[f"{label} parts"] = ",".join(parts) if isinstance(parts, list) else parts
            if os.path.isfile(path):
                files[label] = _entry(path, known.get(label), digest_of)
    for split in ("train", "valid"):
        for number, path in enumerate(getattr(args, f"{split}_shape_file"), 1):
            label = f"{split} shape_file" + (f" {number}" if number > 1 else "")
            files[label] = _entry(path, known.get(label), table_digest)
        for path, name, kind in getattr(args, f"{split}_data_path_and_name_and_type"):
            digest = {"kaldi_ark": features_digest, "sound": audio_digest}.get(kind, table_digest)
            files[f"{split} {name}"] = _entry(path, known.get(f"{split} {name}"), digest)
    return json.loads(json.dumps({"options": options, "files": files}, default=str))


def _named_files(options: Mapping, known: Mapping) -> dict:
    """The entries of all files, folders and models that options name."""
    files = {}
    for name, value in options.items():
        if name.rsplit(".", 1)[-1] in PATHS and isinstance(value, str):
            files |= _named(name, value, known.get(name))
    return files


def _named(label: str, value: str, known: Mapping | None) -> dict:
    """The entry of a file or folder, or of a model of the hub that has been fetched; nothing for other names."""
    if os.path.exists(value):
        return {label: _entry(value, known, digest_of)}
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(value, "config.json")
    except ValueError:  # no name on the hub
        return {}
    if not isinstance(found, str):
        return {}
    return {label: {"path": value, "digest": f"commit {Path(found).parent.name}", "n": 1, "stamp": None}}


def check(args: argparse.Namespace) -> None:
    """Compare a training with what the weights in its folder were made from, and set `args.made_from`.

    What may change on the way goes through with a note. A folder without weights may become anything.

    Raises:
        SecError: lists what differs and may not.
    """
    folder = Path(args.output_dir)
    earlier = read(folder)
    args.made_from = now = made_from(args, earlier)
    if not has_weights(folder):
        return
    if earlier is None:
        earlier = of_config(folder)
        _note(f"{folder}: was trained before {NAME} was written; its options are compared, its data is not")
        if earlier is None:
            return
    refused, allowed = differences(earlier, now)
    if refused:
        more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise SecError(
            f"{folder}: its weights were trained with something else than this command gives:"
            f" {'; '.join(refused[:SHOWN])}{more}; {WAY_OUT}"
        )
    if allowed:
        _note(f"{folder}: goes on with {'; '.join(allowed)}")


def _note(text: str) -> None:
    print(f"sec_train: note: {text}", file=sys.stderr)


def has_weights(folder: Path) -> bool:
    """Whether a training has left a model or a checkpoint there."""
    return any(folder.glob("*.pth"))


def write(record: Mapping, folder: Path) -> None:
    """Write made_from.json."""
    write_json(folder / NAME, record)


def read(folder: Path) -> dict | None:
    """made_from.json; None where there is none.

    Raises:
        SecError: it cannot be read.
    """
    try:
        record = json.loads((folder / NAME).read_text(encoding="utf-8"))
        dict(record["options"]), {name: one["digest"] for name, one in record["files"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise SecError(f"{folder / NAME}: is broken; {WAY_OUT}") from err
    return record


def of_config(folder: Path) -> dict | None:
    """What config.yaml tells of the options, for a folder without made_from.json; None where there is neither."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    options = {}
    for name, value in located(read_yaml(path), folder).items():
        if name not in (*DATA, *LISTS):
            options |= _flat(name, value)
    options = {name: value for name, value in options.items() if not _is_filled(name)}
    files = _named_files(options, {})
    return json.loads(json.dumps({"options": options, "files": files, "partial": True}, default=str))


def differences(earlier: Mapping, now: Mapping) -> tuple[list[str], list[str]]:
    """What differs between two records: what may not, and what may change on the way; each as "name: old -> new"."""
    refused, allowed = [], []
    files = {name: (earlier["files"][name], now["files"][name]) for name in earlier["files"] if name in now["files"]}
    for name, (old, new) in files.items():
        if old["digest"] != new["digest"]:
            refused.append(f"{name}: other content than then ({_said(old, new)})")
    partial = earlier.get("partial", False)
    for name in sorted(earlier["options"].keys() | now["options"].keys()):
        if name in files or _unknown(name, earlier, now, partial):
            continue
        old, new = (_value(record["options"], name) for record in (earlier, now))
        if old != new and not (name in now["files"] and _same_path(old, new)):
            free = name.split(".")[0] in FREE or name.startswith(FREE_PREFIXES)
            (allowed if free else refused).append(f"{name}: {_text(old)} -> {_text(new)}")
    for name in sorted(earlier["files"].keys() ^ now["files"].keys()):
        if name not in earlier["options"] and name not in now["options"] and not partial:
            refused.append(f"{name}: {'was not there then' if name in now['files'] else 'is not there any more'}")
    quiet = ("output_dir", "config", "log_level", "version", "print_config", "resume", *FREE_PREFIXES)
    return refused, [one for one in allowed if not one.startswith(quiet)]


def _value(options: Mapping, name: str) -> object:
    """An option's value; of a constructor argument that is not given, its default."""
    kind, _, argument = name.partition("_conf.")
    if name in options or not argument or not isinstance(options.get(kind), str) or kind not in CHOICES:
        return options.get(name)
    parameters = inspect.signature(CHOICES[kind].get_class(options[kind]).__init__).parameters
    default = parameters[argument].default if argument in parameters else None
    return None if default is inspect.Parameter.empty else json.loads(json.dumps(default, default=str))


def _unknown(name: str, earlier: Mapping, now: Mapping, partial: bool) -> bool:
    """Whether one of the two cannot know the option: another version's, or what config.yaml does not tell."""
    if partial and (_is_filled(name) or name.split(" ")[0] in LISTS):
        return True
    top = name.split(".")[0]
    there = [any(key.split(".")[0] == top for key in record["options"]) for record in (earlier, now)]
    return "." not in name and not all(there) and name.split(" ")[0] not in LISTS


def _is_filled(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in FILLED)


def _same_path(old: object, new: object) -> bool:
    return isinstance(old, str) and isinstance(new, str) and os.path.realpath(old) == os.path.realpath(new)


def _said(old: Mapping, new: Mapping) -> str:
    if old["n"] != new["n"]:
        return f"{old['n']} -> {new['n']} entries"
    return shorten(str(new["path"]), 200) if old["path"] == new["path"] else f"{old['path']} -> {new['path']}"


def _text(value: object) -> str:
    return "not given" if value is None else shorten(value if isinstance(value, str) else json.dumps(value), 100)


def _flat(name: str, value: object) -> dict:
    if isinstance(value, Mapping):
        return {key: one for part, inner in value.items() for key, one in _flat(f"{name}.{part}", inner).items()}
    return {name: value}


def _entry(path: str, known: Mapping | None, digest: Callable[[str], tuple[str, int]]) -> dict:
    """Digest of a file or folder; taken from an earlier record where no file behind it has changed since."""
    stamp = fingerprint([_stamp(file) for file in sorted(_behind(path))])
    if known and known.get("stamp") == stamp:
        return {**known, "path": path}
    value, count = digest(path)
    return {"path": path, "digest": value, "n": count, "stamp": stamp}


def _stamp(path: str) -> list:
    if not os.path.exists(path):  # whoever reads it says so
        return [path]
    stat = os.stat(path)
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _behind(path: str) -> set[str]:
    """The files that a path leads to: those of a folder; a list of recordings or features, and what it names."""
    if os.path.isdir(path):
        return set(model_files(path))
    files = {path}
    if path.endswith(".scp"):
        files |= {
            entry.rsplit(":", 1)[0] if not os.path.exists(entry) else entry for entry in read_kaldi(path).values()
        }
    return files


def digest_of(path: str) -> tuple[str, int]:
    """Digest and number of tensors, arrays, files: of a model file, an .npz of statistics, any file, a folder."""
    if os.path.isdir(path):
        files = model_files(path)
        return fingerprint([[os.path.basename(file), file_digest(file)] for file in files]), len(files)
    if path.endswith(".npz"):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in sorted(arrays)}
        except (ValueError, EOFError, zipfile.BadZipFile) as err:  # a pickle, among others
            raise SecError(f"{path}: not a file of arrays ({shorten(str(err), 100)}); run stage 4 again") from err
        if not all(np.isfinite(value).all() for value in values.values()):
            raise SecError(f"{path}: statistics that are not finite; run stages 3 and 4 again")
        return fingerprint({name: array_digest(value) for name, value in values.items()}), len(values)
    if path.endswith(".pth"):
        try:
            state = load_state(path)
        except SecError as err:
            if "diverged" in str(err):
                raise
            return file_digest(path), 1  # not one of ours
        return fingerprint({name: array_digest(value.cpu().numpy()) for name, value in state.items()}), len(state)
    return file_digest(path), 1


def array_digest(value: np.ndarray) -> str:
    """Digest of an array's values, type and shape."""
    head = f"{value.dtype} {value.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(value).tobytes()).hexdigest()


def table_digest(path: str) -> tuple[str, int]:
    """Digest and number of the `id value` lines of a file, in whatever order."""
    values = {utt: value for _, utt, value in good_lines(path, may_be_empty=True)}
    return fingerprint(values), len(values)


def features_digest(path: str) -> tuple[str, int]:
    """Digest and number of the matrices that a feats.scp names, wherever they lie."""
    digests = {}
    for utt, entry in sorted(read_kaldi(path).items(), key=lambda item: item[1].rpartition(":")[0]):
        try:
            digests[utt] = array_digest(read_matrix(entry))
        except (SecError, OSError) as err:
            raise SecError(f"{path}: {utt}: {entry}: {err}; run stage 3 again") from err
    return fingerprint(digests), len(digests)


def audio_digest(path: str) -> tuple[str, int]:
    """Digest and number of the recordings that a wav.scp names, wherever they lie."""
    digests = {}
    for utt, entry in read_kaldi(path).items():
        try:
            digests[utt] = file_digest(entry)
        except OSError as err:
            raise SecError(f"{path}: {utt}: {entry}: {err.strerror}; run stage 2 again") from err
    return fingerprint(digests), len(digests)

"""What the reference log-probabilities of preference pairs were made from, and whether a training may use them.

FOLDER/reference.json beside the pairs of sec_reference: the same content always gives the same record, wherever it is.
"""

import argparse
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from espnet2_secap.data.io import good_lines, read_kaldi, write_json
from espnet2_secap.data.scp import read_matrix
from espnet2_secap.errors import SecError, few
from espnet2_secap.process.jobs import file_digest, fingerprint
from espnet2_secap.tasks import made_from
from espnet2_secap.tasks.parts import CHOICES
from espnet2_secap.text.roles import condition_of

NAME = "reference.json"
LOOKED_AT = 100  # utterances whose speech is compared: another encoder changes that of all
SPLITS = ("train", "valid")
# Parts of a configuration whose files decide on a log-probability beside the trained tensors.
PARTS = ("encoder_conf.", "normalize_conf.", "bridge_conf.", "decoder_conf.", "text_encoder_conf.")
STARTS = "bridge_conf.init"  # replaced by the model's own tensors


def of_model(model_file: str | Path, config: Mapping) -> dict:
    """What a record says of the model: digests of its tensors and of its frozen parts, and what its decoder reads.

    Args:
        model_file: its trained tensors.
        config: config.yaml beside it.

    Raises:
        SecError: its tensors are not finite, or a part cannot be read.
    """
    files = (made_from.of_config(Path(model_file).parent) or {"files": {}})["files"]
    return {
        "model_file": str(model_file),
        "model": made_from.digest_of(str(model_file))[0],
        "parts": {name: one["digest"] for name, one in sorted(files.items()) if _is_part(name)},
        "reads": _reads(config.get("model_conf") or {}, config.get("template")),
    }


def _is_part(name: str) -> bool:
    return name.startswith(PARTS) and name != STARTS


def _reads(conf: Mapping, template: str | None) -> dict:
    prompt = bool(conf.get("attributes_prompt"))
    return {"condition": list(condition_of(conf)), "attributes_prompt": prompt, "template": template or "auto"}


def of_pairs(paths: list[str]) -> str:
    """Digest of files of pairs, whatever their names."""
    return fingerprint([file_digest(path) for path in paths])


def of_data(files: Mapping[str, str], ids: Iterable[str]) -> dict[str, str]:
    """Digests of what is read of utterances, in whatever set they are.

    Args:
        files: name of the data -> its file: speech (feats.scp or wav.scp), text, clues.
        ids: of the utterances; of speech, LOOKED_AT of them count, spread over all.

    Raises:
        SecError: a file lacks one of them, or cannot be read.
    """
    ids, found = sorted(ids), {}
    for name, path in files.items():
        table = {utt: value for _, utt, value in good_lines(path, may_be_empty=True)}
        if name != "speech":
            found[name] = fingerprint({utt: table.get(utt, "").strip() for utt in ids})
            continue
        some = ids[:: math.ceil(len(ids) / LOOKED_AT)]
        if absent := [utt for utt in some if utt not in table]:
            raise SecError(f"{path}: has no line for {few(absent)}; give the speech of the utterances with pairs")
        try:
            digest = file_digest if Path(path).name == "wav.scp" else _matrix_digest
            found[name] = fingerprint({utt: digest(table[utt]) for utt in some})
        except (SecError, OSError) as err:
            what = f"{err.filename}: {err.strerror}" if isinstance(err, OSError) else err
            raise SecError(f"{path}: {what}; run stages 2 and 3 again") from err
    return found


def _matrix_digest(entry: str) -> str:
    return made_from.array_digest(read_matrix(entry))


def read(folder: str | Path) -> dict | None:
    """reference.json of a folder; None where there is none.

    Raises:
        SecError: it is broken.
    """
    path = Path(folder) / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert all(isinstance(record[name], dict) for name in ("made_from", "files", "splits"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AssertionError, RecursionError) as err:
        raise SecError(f"{path}: is broken; remove {folder} and run sec_reference again") from err
    return record


def write(folder: str | Path, record: Mapping) -> None:
    """Write reference.json."""
    write_json(Path(folder) / NAME, record)


WHAT = {
    "model": "another model",
    "parts": "another encoder, language model or statistics",
    "reads": "a model that reads something else (condition, attributes_prompt, template)",
    "pairs": "other pairs",
    "speech": "other speech features",
    "text": "other transcriptions",
    "clues": "other clues",
    "dtype": "another --dtype",
    "held_out": "another --held_out",
    "seed": "another --seed",
}


def differing(earlier: Mapping, now: Mapping) -> list[str]:
    """What two records of the same kind differ in, of what both have, in words."""
    return [what for name, what in WHAT.items() if name in earlier and name in now and earlier[name] != now[name]]


def check(args: argparse.Namespace) -> None:
    """See that the references of a training's pairs are those of the model that it starts from.

    Args:
        args: of sec_train, with `made_from`; of a model that needs no pairs nothing is looked at.

    Raises:
        SecError: pairs without a record, or changed since, or made from another model, other features, ...
    """
    if "pairs" not in CHOICES["model"].get_class(args.model).needs(args.model_conf):
        return
    for split in SPLITS:
        data = {name: path for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type")}
        if "pairs" in data:
            _check_file(args, split, data["pairs"])


def _check_file(args: argparse.Namespace, split: str, path: str) -> None:
    folder = Path(path).parent
    record = read(folder)
    if record is None:
        raise SecError(
            f"{path}: has no {NAME} beside it, which says what model its references are of; make it with sec_reference"
        )
    if record["files"].get(os.path.basename(path)) != file_digest(path):
        raise SecError(
            f"{path}: has been changed since its references were computed; remove {folder} and run sec_reference again"
        )
    files = args.made_from["files"]
    if "init_model" not in files or "init_model 2" in files:
        raise SecError(
            f"--init_model: model: prefer starts from the one model that the references of {path} are of; give"
            f" --init_model {record['made_from'].get('model_file', 'FILE')}"
        )
    now = {"model": files["init_model"]["digest"], "reads": _reads(args.model_conf, args.template)}
    parts = {name: one["digest"] for name, one in files.items() if _is_part(name)}
    both = record["made_from"]["parts"].keys() & parts
    now["parts"] = record["made_from"]["parts"] | {name: parts[name] for name in both}
    data = {name: path for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type")}
    there = record["splits"].get(Path(path).suffix[1:], {})
    ids = read_kaldi(path)
    now |= of_data({name: data[name] for name in there if name in data}, ids)
    if found := differing(record["made_from"] | there, now):
        raise SecError(
            f"{path}: its references are of {' and '.join(found)} than this training starts from"
            f" ({record['made_from'].get('model_file')}, and not {files['init_model']['path']}); run sec_reference with"
            " this one, into another folder"
        )

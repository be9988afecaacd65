"""What the programs that make mini pretrained parts have in common."""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.io import read_yaml
from espnet2_secap.errors import SecError
from espnet2_secap.values import Seed, check_conf

RECORD = "pretrain.json"  # in a finished folder: what it was made from
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # first tokens of a BERT's vocabulary


def parser_of(description: str, section: str, holds: str) -> Parser:
    """Parser of the options that all these programs have.

    Args:
        description: of the program.
        section: of the configuration.
        holds: what the training set must hold, in words.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_set", type=Path, required=True, help=f"data directory with {holds}")
    parser.add_argument("--output", type=Path, required=True, help="transformers folder to make")
    parser.add_argument("--config", type=Path, help=f"YAML file; its section `{section}` sets sizes and steps")
    parser.add_argument("--seed", type=of(Seed), help="of all that is drawn, instead of the configuration's")
    return parser


def read_config(path: Path | None, section: str, defaults, seed: int | None = None):
    """Read one section of a YAML file over the fields of a dataclass; `seed`, where it is given, over both.

    Raises:
        SecError: no such file, not YAML, or a key that `defaults` does not have.
    """
    if seed is not None:
        return dataclasses.replace(read_config(path, section, defaults), seed=seed)
    if path is None:
        return defaults
    try:
        values = read_yaml(path).get(section) or {}
    except OSError as err:
        raise SecError(f"{path}: cannot be read ({err.strerror}); see conf/pretrain.yaml") from err
    fields = [field.name for field in dataclasses.fields(defaults)]
    values = check_conf(f"{path}: {section}", type(defaults), values, later=fields)
    return dataclasses.replace(defaults, **values)


def config_of(folder: Path, kind: type):
    """The configuration, a dataclass `kind`, that a finished part was made with.

    Raises:
        SecError: no such part, or one that these programs did not make.
    """
    try:
        return kind(**json.loads((folder / RECORD).read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise SecError(
            f"{folder / RECORD}: does not say how this part was made; make it with local/pretrain.sh"
        ) from err


def record_of(config, sources: Iterable[str | bytes]) -> dict:
    """What a part is made from: its configuration, and a checksum over all that it learns from and these programs."""
    checksum = hashlib.sha256()
    programs = [program.read_bytes() for program in sorted(Path(__file__).resolve().parent.glob("pretrain_*.py"))]
    for source in (*programs, *sources):
        checksum.update(source.encode() if isinstance(source, str) else source)
    record = {"config": dataclasses.asdict(config), "sources": checksum.hexdigest()}
    return json.loads(json.dumps(record))  # as it will be read back


def sounds_of(paths: Mapping[str, str]) -> Iterator[bytes]:
    """The recordings of a training set, id -> file, as sources of `record_of`; without those that are not there."""
    return (key.encode() + Path(path).read_bytes() for key, path in sorted(paths.items()) if Path(path).exists())


def is_made(folder: Path, record: dict) -> bool:
    """Whether `folder` holds a complete part made from just this."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8")) == record
    except (OSError, ValueError):
        return False


def begin_folder(folder: Path) -> Path:
    """An empty folder beside `folder`, to be filled and then handed to `finish_folder`."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    return beside


def finish_folder(beside: Path, folder: Path, record: dict) -> None:
    """Note what the part was made from and put it in its place; an earlier one goes only now."""
    (beside / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(beside, folder)
        if old.is_symlink():
            old.unlink()
        else:
            shutil.rmtree(old)
    else:
        os.replace(beside, folder)


def character_tokenizer(folder: Path, captions: Iterable[list[str]], **options):
    """A BERT's tokenizer of the characters in some captions, saved to a folder with its vocab.txt.

    Args:
        folder: where to.
        captions: of each utterance.
        options: of BertTokenizer.
    """
    from transformers import BertTokenizer

    known = sorted({char for some in captions for text in some for char in text if not char.isspace()})
    (folder / "vocab.txt").write_text("".join(f"{one}\n" for one in (*SPECIAL, *known)), encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), **options)
    tokenizer.save_pretrained(folder)
    return tokenizer

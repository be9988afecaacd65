"""Argument types shared by the programs, and options that a dataclass declares once for parser, file and code."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

from espnet2_secap.errors import SecError

Options = TypeVar("Options")


def str2bool(value: str) -> bool:
    """`true`/`false` (also yes/no, 1/0) as in Kaldi and ESPnet options."""
    table = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return table[value.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}") from None


def option(
    help: str, default: Any = dataclasses.MISSING, choices: Collection | None = None, metavar: str | None = None
) -> Any:
    """A dataclass field that is also an option of a program; without `default` the option is required.

    >>> @dataclasses.dataclass
    ... class Decoding:
    ...     beam_size: int = option("hypotheses kept in beam search; 1: greedy", 1)
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})


def add_dataclass_arguments(parser: argparse._ActionsContainer, cls: type, skip: Collection[str] = ()) -> None:
    """Add `--name` for every field of a dataclass, with its type, default, help and choices.

    Args:
        parser: a parser, or a group of one.
        cls: its fields have type bool (`true|false`), int, float, str or one of these `| None`, and are best declared
            by `option`. A field without a default becomes a required option.
        skip: fields that are no options of this program.
    """
    for field, kind, _ in _fields(cls, skip):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        choices = field.metadata.get("choices")
        metavar = field.metadata.get("metavar") or ("true|false" if kind is bool else None)
        parser.add_argument(
            f"--{field.name}",
            type=str2bool if kind is bool else kind,
            help=field.metadata.get("help"),
            **(dict(required=True) if required else dict(default=default_of(field))),
            **(dict(choices=list(choices)) if choices else {}),
            **(dict(metavar=metavar) if metavar else {}),
        )


def from_args(cls: type[Options], args: argparse.Namespace, skip: Collection[str] = ()) -> Options:
    """Build the dataclass from parsed arguments, by the names of its fields; other arguments are ignored.

    Values that came from a YAML file (`parser.set_defaults`) have passed no check of argparse: they are checked here.

    Args:
        cls: as given to `add_dataclass_arguments`.
        args: the parsed arguments.
        skip: fields that keep their default.

    Raises:
        SecError: a value of another type than the field's, or none of its choices.
    """
    values = {}
    for field, kind, optional in _fields(cls, skip):
        value = getattr(args, field.name)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        choices = field.metadata.get("choices")
        if value is None and optional:
            pass
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SecError(f"--{field.name} {value!r}: must be {NAMES[kind]}")
        elif choices and value not in choices:
            raise SecError(f"--{field.name} {value!r}: must be one of {', '.join(map(str, choices))}")
        values[field.name] = value
    return cls(**values)


NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


def default_of(field: dataclasses.Field) -> Any:
    """The default of a dataclass field that has one."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _fields(cls: type, skip: Collection[str]) -> list[tuple[dataclasses.Field, type, bool]]:
    """Every field with its plain type, and whether None is allowed too."""
    hints, found = typing.get_type_hints(cls), []
    for field in dataclasses.fields(cls):
        if field.name in skip or not field.init:
            continue
        kind, optional = hints[field.name], False
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kinds = [one for one in typing.get_args(kind) if one is not type(None)]
            optional = len(kinds) < len(typing.get_args(kind))
            kind = kinds[0] if len(kinds) == 1 else kind
        if kind not in NAMES:
            raise TypeError(f"{cls.__name__}.{field.name}: {kind} cannot be an option; use bool, int, float or str")
        found.append((field, kind, optional))
    return found

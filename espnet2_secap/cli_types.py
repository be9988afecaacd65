"""Options of programs: types with ranges, and options that a dataclass declares once for parser, file and code."""

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from espnet2_secap.errors import SecError
from espnet2_secap.values import checked

Options = TypeVar("Options")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage before it."""

    def error(self, message: str) -> typing.NoReturn:
        """Print the line and exit with status 1, as for all bad input (errors.py)."""
        self.exit(1, f"{self.prog.removesuffix('.py')}: error: {as_typed(message)}; see --help\n")


def as_typed(message: str) -> str:
    """argparse's message on one line, with an option's value behind it as it was typed: "--nj 0: must be ..."."""
    return re.sub(r"^argument (--\S+): (.*: (must|expected) )", r"\1 \2", " ".join(message.split()))


def str2bool(value: str) -> bool:
    """`true`/`false` (also yes/no, 1/0) as in Kaldi and ESPnet options."""
    table = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return table[value.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}") from None


str2bool.hint = bool


def of(hint: Any) -> Callable[[str], Any]:
    """The type of an option of argparse that an annotation declares (see values.py): `type=of(Count)`.

    Where None is allowed, `none` and `null` give it. A number may be written in any way: 1e3, 2.0.
    """
    kind, optional = _kind(hint)

    def convert(text: str) -> Any:
        if optional and text.lower() in ("none", "null"):
            return None
        try:
            return checked("", str2bool(text) if kind is bool else _parsed(text, kind), hint)
        except SecError as err:
            raise argparse.ArgumentTypeError(str(err).strip()) from None

    convert.hint = hint
    convert.__name__ = kind.__name__
    return convert


def _parsed(text: str, kind: type) -> Any:
    for number in (int, float) if kind in (int, float) else ():
        try:
            return number(text)
        except ValueError:
            continue
    return text


def option(
    help: str, default: Any = dataclasses.MISSING, choices: Collection | None = None, metavar: str | None = None
) -> Any:
    """A dataclass field that is also an option of a program; without `default` the option is required.

    >>> @dataclasses.dataclass
    ... class Decoding:
    ...     beam_size: Annotated[int, Range(least=1)] = option("hypotheses kept in beam search; 1: greedy", 1)
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})


def add_dataclass_arguments(parser: argparse._ActionsContainer, cls: type, skip: Collection[str] = ()) -> None:
    """Add `--name` for every field of a dataclass, with its type, default, help and choices.

    Args:
        parser: a parser, or a group of one.
        cls: its fields have type bool (`true|false`), int, float, str or one of these `| None`, with a range if need
            be, and are best declared by `option`. A field without a default becomes a required option.
        skip: fields that are no options of this program.
    """
    for field, hint in _fields(cls, skip):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        choices = field.metadata.get("choices")
        metavar = field.metadata.get("metavar") or ("true|false" if _kind(hint)[0] is bool else None)
        parser.add_argument(
            f"--{field.name}",
            type=of(hint),
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
        SecError: a value of another type than the field's, out of its range, or none of its choices.
    """
    return cls(**{field.name: _checked(field, hint, getattr(args, field.name)) for field, hint in _fields(cls, skip)})


def check_fields(options: Any) -> None:
    """For a dataclass's `__post_init__`: check every field, and put in its place what the value stands for.

    Raises:
        SecError: as `from_args`.
    """
    for field, hint in _fields(type(options), ()):
        object.__setattr__(options, field.name, _checked(field, hint, getattr(options, field.name)))


def checked_defaults(
    parser: argparse.ArgumentParser, conf: Mapping, path: object, hints: Mapping[str, Any] | None = None
) -> dict:
    """What a file says of a parser's options, checked, for `parser.set_defaults`.

    Args:
        parser: with all options.
        conf: of the file.
        path: of the file, for messages.
        hints: option -> annotation, where the parser's own type does not tell it.

    Raises:
        SecError: an unknown key; a value of the wrong type, out of range, or none of the choices.
    """
    actions = {action.dest: action for action in parser._actions}
    unknown = [key for key in conf if key not in actions]
    if unknown:
        raise SecError(f"{path}: unknown key {', '.join(unknown)}; see --help for the options")
    values, problems = {}, []
    for key, value in conf.items():
        try:
            values[key] = _checked_value(key, actions[key], value, hints or {})
        except SecError as err:
            problems.append(str(err))
    if problems:
        raise SecError(f"{path}: {'; '.join(problems)}")
    return values


def check_args(args: argparse.Namespace, parser: argparse.ArgumentParser, hints: Mapping[str, Any]) -> None:
    """Check parsed arguments, wherever they come from, and put in place what their values stand for.

    Args:
        args: of `parser`.
        parser: with all options.
        hints: option -> annotation, where the parser's own type does not tell it.

    Raises:
        SecError: a value of the wrong type, out of range, or none of the choices.
    """
    for action in parser._actions:
        if hasattr(args, action.dest):
            value = getattr(args, action.dest)
            if value is not None or action.default is not None:
                setattr(args, action.dest, _checked_value(f"--{action.dest}", action, value, hints))


_HINTS = {int: int, float: float, str: str, None: str, "str2bool": bool}
_OPTIONAL = {"int_or_none": int | None, "float_or_none": float | None, "str_or_none": str | None}  # ESPnet's, by name


def _checked_value(where: str, action: argparse.Action, value: Any, hints: Mapping[str, Any]) -> Any:
    """The value of an option; of several values each, where the option takes several."""
    name = getattr(action.type, "__name__", "")
    hint = getattr(action.type, "hint", None) or _HINTS.get(action.type) or _HINTS.get(name) or _OPTIONAL.get(name)
    if isinstance(action, (argparse._HelpAction, argparse._StoreConstAction)):
        return value
    if action.dest in hints:
        value = checked(where, value, hints[action.dest])
    elif hint is not None and type(action) is argparse._StoreAction:
        several = action.nargs in ("*", "+") or isinstance(action.nargs, int)
        if value is not None or action.default is not None:
            value = checked(where, value, list[hint] if several else hint)
    if action.choices and not action.nargs:
        value = action.type(value) if isinstance(value, str) and callable(action.type) else value
        if value not in action.choices and (value is not None or action.default is not None):
            choices = ", ".join("none" if one is None else str(one) for one in action.choices)
            raise SecError(f"{where} {value!r}: must be one of {choices}")
    return value


def default_of(field: dataclasses.Field) -> Any:
    """The default of a dataclass field that has one."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _checked(field: dataclasses.Field, hint: Any, value: Any) -> Any:
    value, choices = checked(f"--{field.name}", value, hint), field.metadata.get("choices")
    if choices and value is not None and value not in choices:
        raise SecError(f"--{field.name} {value!r}: must be one of {', '.join(map(str, choices))}")
    return value


def _kind(hint: Any) -> tuple[Any, bool]:
    """The plain type of an annotation, and whether None is allowed too."""
    if typing.get_origin(hint) is typing.Annotated:
        return _kind(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [one for one in typing.get_args(hint) if one is not type(None)]
        return (_kind(kinds[0])[0] if len(kinds) == 1 else hint), len(kinds) < len(typing.get_args(hint))
    return hint, False


def _fields(cls: type, skip: Collection[str]) -> list[tuple[dataclasses.Field, Any]]:
    """Every field that is an option, with its annotation."""
    hints, found = typing.get_type_hints(cls, include_extras=True), []
    for field in dataclasses.fields(cls):
        if field.name in skip or not field.init:
            continue
        kind, _ = _kind(hints[field.name])
        if kind not in (bool, int, float, str):
            raise TypeError(f"{cls.__name__}.{field.name}: {kind} cannot be an option; use bool, int, float or str")
        found.append((field, hints[field.name]))
    return found

"""What a value may be: type and range, declared beside the argument, checked alike wherever the value comes from.

A constructor or an option says it in its annotation, `Annotated[int, Range(least=1)]`, or by one of the names below. A
whole number may be written as 2.0 where an integer is declared, an integer where a number is. Text is text: "1e-4" in
quotes is no number. NaN never is a number, infinity only where the range says so.
"""

import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from espnet2_secap.errors import SecError, shorten


@dataclass(frozen=True)
class Range:
    """The numbers that are allowed; `infinite` allows infinity too, where the bounds do."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    infinite: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies within."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"between {self.least:g} and {_whole(self.most)}"
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{name} {_whole(bound)}" for name, bound in bounds.items() if bound is not None)


def _whole(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


ORDERED = "each above the one before"  # in an annotation of a list of numbers
PLACE = "place"  # in an annotation of text: a file or folder, or a name on the model hub; ~ is the home folder

Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
Amount = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
Dropout = Annotated[float, Range(least=0, below=1)]
Seed = Annotated[int, Range(least=0, most=2**31 - 1)]  # NumPy takes 32 bits, and epochs are added
Place = Annotated[str, PLACE]

_UNFIT = object()
_SEQUENCES = (list, tuple, Iterable, Collection, typing.Sequence, typing.get_origin(typing.Sequence[int]))
_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text", type(None): "none"}


def checked(where: str, value: Any, hint: Any) -> Any:
    """The value as what is declared: 2.0 as an integer where one is, 1 as a number.

    Args:
        where: the option with the file or section that holds it, for the message.
        value: as YAML, a command line or Python gives it.
        hint: an annotation: bool, int, float, str, None, dict, list, tuple, Literal, Annotated with a Range, or a union
            of these. Any other annotation is not checked.

    Raises:
        SecError: option, value, and what it must be.
    """
    fitted = _fit(value, hint)
    if fitted is _UNFIT:
        of_type = _fit(value, hint, ranges=False) is not _UNFIT
        raise SecError(f"{where} {shorten(repr(value))}: must be {said(hint, short=of_type)}")
    return fitted


def said(hint: Any, short: bool = False) -> str:
    """What an annotation asks for, in words; `short` leaves out the type where there is a range."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        ranges = [str(one) for one in args[1:] if one == ORDERED or (isinstance(one, Range) and str(one))]
        return " and ".join(ranges) if short and ranges else ", ".join([said(args[0], short), *ranges])
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in args if one in _NAMES or typing.get_origin(one)]
        return " or ".join(dict.fromkeys(said(one, short) for one in kinds or args))
    if (origin or hint) in _SEQUENCES:
        inside = [one for one in args if one is not Ellipsis]
        size = f" of {len(inside)}" if origin is tuple and Ellipsis not in args else ""
        each = list(dict.fromkeys(said(one, short) for one in inside))
        if len(each) > 1:
            return f"a list{size} ({'; '.join(each)})"
        return f"a list{size}" + "".join(f", each {one}" for one in each)
    if (origin or hint) in (dict, Mapping):
        return "`key: value` lines"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def _fit(value: Any, hint: Any, ranges: bool = True, infinite: bool = False) -> Any:
    """The value as the annotation has it, or _UNFIT."""
    if hint in (Any, object):
        return value
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bounds = [one for one in args[1:] if isinstance(one, Range)]
        if PLACE in args[1:] and isinstance(value, (str, os.PathLike)):
            value = os.path.expanduser(os.fspath(value))
        value = _fit(value, args[0], ranges, any(one.infinite for one in bounds))
        outside = ranges and value is not _UNFIT and not all(one.holds(value) for one in bounds)
        if ORDERED in args[1:] and value is not _UNFIT and ranges:
            outside = any(one >= other for one, other in zip(value, value[1:], strict=False))
        return _UNFIT if outside else value
    if origin is Literal:
        return value if any(value == one and type(value) is type(one) for one in args) else _UNFIT
    if origin in (typing.Union, types.UnionType):
        fits = (_fit(value, one, ranges, infinite) for one in args)
        return next((one for one in fits if one is not _UNFIT), _UNFIT)
    if (origin or hint) in _SEQUENCES:
        return _fit_all(value, origin or hint, args, ranges)
    if (origin or hint) in (dict, Mapping):
        return value if isinstance(value, Mapping) else _UNFIT
    if hint in (None, type(None)):
        return None if value is None else _UNFIT
    if hint is bool:
        return value if isinstance(value, bool) else _UNFIT
    if hint in (int, float):
        return _number(value, hint, infinite)
    if hint is str:
        return value if isinstance(value, str) else _UNFIT
    if hint is Path:
        return value if isinstance(value, (str, os.PathLike)) else _UNFIT
    if hint is Callable or origin is Callable:
        return _UNFIT
    if isinstance(hint, type):
        return value if isinstance(value, hint) else _UNFIT
    return value


def _number(value: Any, hint: type, infinite: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return _UNFIT
    try:
        if math.isnan(value) or (math.isinf(value) and not infinite):
            return _UNFIT
        whole = isinstance(value, numbers.Integral) or (not math.isinf(value) and float(value).is_integer())
        return float(value) if hint is float else int(value) if whole else _UNFIT
    except OverflowError:  # an integer beyond all floats
        return int(value) if hint is int else _UNFIT


def _fit_all(value: Any, origin: Any, args: tuple, ranges: bool) -> Any:
    if not isinstance(value, (list, tuple)):
        return _UNFIT
    if origin is tuple and args and Ellipsis not in args:
        if len(value) != len(args):
            return _UNFIT
        kinds = args
    else:
        kinds = [args[0] if args else Any] * len(value)
    fitted = [_fit(one, kind, ranges) for one, kind in zip(value, kinds, strict=True)]
    return _UNFIT if any(one is _UNFIT for one in fitted) else type(value)(fitted)


@cache
def parameters_of(function: Callable) -> dict[str, tuple[Any, bool]]:
    """What a function or class can be given by name: annotation, and whether it must be given.

    A class that takes `**further` passes these on to the class that it extends, and takes what that one does.
    """
    target = function.__init__ if isinstance(function, type) else function
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError):  # a library's names that are there for type checkers only
        hints = {}
    found = {}
    for name, one in inspect.signature(target).parameters.items():
        if one.kind == one.VAR_KEYWORD and isinstance(function, type) and "__init__" in vars(function.__base__):
            found = parameters_of(function.__base__) | found
        if name == "self" or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        hint = hints.get(name, Any)
        if hint is Any and isinstance(one.default, (bool, int, float, str)):  # not annotated: as its default
            hint = {bool: bool, str: str}.get(type(one.default), int | float)
        found[name] = hint, one.default is one.empty
    return found


def check_conf(
    where: str,
    function: Callable,
    conf: Mapping,
    given: Collection[str] = (),
    hints: Mapping[str, Any] | None = None,
    later: Collection[str] = (),
) -> dict:
    """See that a configuration can be the arguments of a function or class, by its annotations.

    Args:
        where: the section, such as "bridge_conf of bridge: linear".
        function: what the configuration is for.
        conf: its arguments.
        given: arguments that a configuration cannot set.
        hints: annotations that stand for those of the function, where it is a library's.
        later: required arguments that may be missing.

    Returns:
        the configuration with values as declared (see `checked`).

    Raises:
        SecError: an unknown key, a value of the wrong type or out of range, a required key that is missing.
    """
    if not isinstance(conf, Mapping):
        raise SecError(f"{where} {shorten(repr(conf))}: must be `key: value` lines")
    parameters = {name: one for name, one in parameters_of(function).items() if name not in given}
    check_keys(where, conf, parameters)
    hints = hints or {}
    output = {key: checked(f"{where}: {key}", value, hints.get(key, parameters[key][0])) for key, value in conf.items()}
    for key, (_, required) in sorted(parameters.items()):
        if required and key not in conf and key not in later:
            raise SecError(f"{where}: {key!r} is missing")
    return output


def check_keys(where: str, conf: Mapping, known: Iterable[str]) -> None:
    """Raise a SecError that names the keys of `conf` that are not known."""
    known = sorted(known)
    unknown = sorted(map(str, set(conf) - set(known)))
    if unknown:
        raise SecError(f"{where}: unknown key {', '.join(map(repr, unknown))}; known: {', '.join(known)}")

"""Options that a dataclass declares: the parser made from it, and the dataclass made from what was parsed."""

import argparse
import importlib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from espnet2_secap.cli_types import (
    Parser,
    add_dataclass_arguments,
    check_fields,
    checked_defaults,
    from_args,
    of,
    option,
)
from espnet2_secap.errors import SecError
from espnet2_secap.values import Count, Positive, Range


@dataclass(frozen=True)
class Options:
    data_dir: str = option("folder to read")
    role: str = option("what for", "train", choices=("train", "test"))
    fs: int = option("Hz", 16000)
    scale: float = option("factor", 1.0)
    pipes: bool = option("run commands", False)
    layer: int | None = option("which one", None)
    name: str | None = option("of it", None, metavar="NAME")
    hidden: int = 3


def parsed(*argv, skip=(), **defaults) -> Options:
    parser = argparse.ArgumentParser()
    add_dataclass_arguments(parser.add_argument_group("all"), Options, skip)
    parser.set_defaults(**defaults)
    return from_args(Options, parser.parse_args(argv), skip)


def test_defaults_are_the_dataclasss_own():
    assert parsed("--data_dir", "d") == Options("d")


def test_every_type_is_read():
    given = "--data_dir d --role test --fs 8000 --scale 2 --pipes true --layer 4 --name x --hidden 5".split()
    assert parsed(*given) == Options("d", "test", 8000, 2.0, True, 4, "x", 5)


def test_a_skipped_field_is_no_option_and_keeps_its_default(capsys):
    assert parsed("--data_dir", "d", skip=("hidden",)).hidden == 3
    with pytest.raises(SystemExit):
        parsed("--data_dir", "d", "--hidden", "4", skip=("hidden",))
    assert "unrecognized arguments: --hidden" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: --data_dir"),
        (["--data_dir", "d", "--role", "dev"], "invalid choice: 'dev'"),
        (["--data_dir", "d", "--fs", "1.5"], "--fs: 1.5: must be an integer"),
        (["--data_dir", "d", "--pipes", "maybe"], "expected true or false, got 'maybe'"),
    ],
)
def test_bad_arguments_are_refused_by_the_parser(capsys, argv, said):
    with pytest.raises(SystemExit):
        parsed(*argv)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fs": 1.5}, "--fs 1.5: must be an integer"),
        ({"fs": True}, "--fs True: must be an integer"),
        ({"fs": None}, "--fs None: must be an integer"),
        ({"pipes": 1}, "--pipes 1: must be true or false"),
        ({"scale": [1.0]}, "--scale [1.0]: must be a number"),
        ({"name": 5}, "--name 5: must be text or none"),
        ({"role": "dev"}, "--role 'dev': must be one of train, test"),
    ],
)
def test_values_of_a_file_are_checked_too(values, said):
    with pytest.raises(SecError) as err:
        parsed("--data_dir", "d", **values)
    assert str(err.value) == said


def test_an_integer_in_a_file_serves_as_a_number():
    scale = parsed("--data_dir", "d", scale=2).scale
    assert scale == 2.0 and isinstance(scale, float)


def test_help_shows_what_the_fields_say():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_dataclass_arguments(parser, Options)
    text = parser.format_help()
    assert "--pipes true|false" in text and "run commands (default: False)" in text and "--name NAME" in text


def test_a_type_that_no_option_can_have_is_refused():
    @dataclass
    class Bad:
        sizes: tuple[int, int] = (1, 2)

    with pytest.raises(TypeError, match="Bad.sizes"):
        add_dataclass_arguments(argparse.ArgumentParser(), Bad)


@dataclass(frozen=True)
class Checked:
    size: Annotated[int, Range(1, 9)] = option("of it", 3)
    rate: Positive | None = option("per second", None)
    kind: str = option("of it", "a", choices=("a", "b"))

    def __post_init__(self):
        check_fields(self)


def test_a_dataclass_checks_what_python_gives_it():
    assert Checked(2.0, 1) == Checked(2, 1.0) and isinstance(Checked(2.0).size, int)
    for values, said in (({"size": 0}, "--size 0: must be between 1 and 9"), ({"rate": "1"}, "--rate '1': must be a")):
        with pytest.raises(SecError, match=said):
            Checked(**values)
    with pytest.raises(SecError, match="--kind 'c': must be one of a, b"):
        Checked(kind="c")


def test_numbers_of_a_command_line_in_any_form(capsys):
    parser = Parser(prog="sec_x.py")
    add_dataclass_arguments(parser, Checked)
    parser.add_argument("--sizes", type=of(Count), nargs="+")
    args = parser.parse_args("--size 1e0 --rate 1e-4 --sizes 2.0 1e3".split())
    assert (args.size, args.rate, args.sizes) == (1, 1e-4, [2, 1000])
    assert parser.parse_args(["--rate", "none"]).rate is None
    for argv, said in (
        (["--size", "10"], "--size 10: must be between 1 and 9"),
        (["--size", "1.5"], "--size 1.5: must be an integer, between 1 and 9"),
        (["--rate", "nan"], "--rate nan: must be a number, above 0 or none"),
        (["--rate", "0"], "--rate 0: must be above 0 or none"),
        (["--sizes", "1", "0"], "--sizes 0: must be at least 1"),
        (["--sise", "1"], "unrecognized arguments: --sise 1"),
    ):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(argv)
        assert stop.value.code == 1 and capsys.readouterr().err == f"sec_x: error: {said}; see --help\n"


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"size": None}, "c.yaml: size None: must be an integer, between 1 and 9"),
        ({"size": "3"}, "c.yaml: size '3': must be an integer"),
        ({"rate": [1]}, "c.yaml: rate .*must be a number, above 0 or none"),
        ({"kind": "c"}, "c.yaml: kind 'c': must be one of a, b"),
        ({"sice": 1}, "c.yaml: unknown key sice; see --help"),
        ({"sizes": [1, 0]}, "c.yaml: sizes .*must be a list, each at least 1"),
        ({"flag": "yes"}, "c.yaml: flag 'yes': must be true or false"),
    ],
)
def test_a_file_of_options_is_checked_by_the_parsers_types(conf, said):
    parser = Parser()
    add_dataclass_arguments(parser, Checked)
    parser.add_argument("--sizes", type=of(Count), nargs="+")
    parser.add_argument("--flag", type=of(bool))
    with pytest.raises(SecError, match=said):
        checked_defaults(parser, conf, "c.yaml")
    good = {"size": 2.0, "rate": None, "kind": "b", "sizes": [1], "flag": True}
    assert checked_defaults(parser, good, "c.yaml") == good
    with pytest.raises(SecError, match=r"^c\.yaml: size 'x': must be .*; flag 3: must be true or false$"):
        checked_defaults(parser, {"size": "x", "flag": 3}, "c.yaml")


def programs() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent.parent / "espnet2_secap" / "bin").glob("sec_*.py"))


def numbers_of(parser: argparse.ArgumentParser):
    """Every option of a parser, and of its actions, that takes a number, with its annotation."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from numbers_of(one)
        hint = getattr(action.type, "hint", action.type)
        if {int, float} & {hint, *typing.get_args(hint), *(typing.get_args(one)[0] for one in typing.get_args(hint)
                                                         if typing.get_origin(one) is Annotated)}:  # fmt: skip
            yield action, hint


@pytest.mark.parametrize("program", programs())
def test_every_number_of_every_program_is_checked_in_one_line(program):
    """The ranges of sec_train's options are those of tasks/training_options.py, of sec_format_audio's of its check."""
    parser = importlib.import_module(f"espnet2_secap.bin.{program}").get_parser()
    assert hasattr(parser, "error") and type(parser) is not argparse.ArgumentParser
    for action, hint in numbers_of(parser):
        assert hint not in (int, float) or action.dest == "status" or program in ("sec_train", "sec_format_audio")
        for text in ("", "x", "nan", "1,5", "[1]", "--1"):
            with pytest.raises(argparse.ArgumentTypeError) as err:
                action.type(text)
            assert "\n" not in str(err.value) and "must be" in str(err.value)

"""Options that a dataclass declares: the parser made from it, and the dataclass made from what was parsed."""

import argparse
from dataclasses import dataclass

import pytest

from espnet2_secap.cli_types import add_dataclass_arguments, from_args, option
from espnet2_secap.errors import SecError


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
        (["--data_dir", "d", "--fs", "1.5"], "argument --fs: 1.5: must be an integer"),
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

"""Values are checked for type and range: one rule for YAML, command line and Python."""

from typing import Annotated, Any, Literal

import numpy as np
import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.values import Count, Natural, Place, Positive, Range, Seed, check_conf, checked, parameters_of, said

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (2, int, 2),
        (2.0, int, 2),
        (1e3, Count, 1000),
        (np.int64(3), Count, 3),
        (3, float, 3.0),
        (np.float32(0.5), float, 0.5),
        (INF, Annotated[float, Range(above=0, infinite=True)], INF),
        (True, bool, True),
        (None, int | None, None),
        ("a", str, "a"),
        ([1, 2.0], list[int], [1, 2]),
        ((1, 2), tuple[float, float], (1.0, 2.0)),
        ([0.1, 5], list[float] | float, [0.1, 5.0]),
        ("sum", Literal["sum", "mean"], "sum"),
        ({"r": 8}, dict | None, {"r": 8}),
        (object, Any, object),
    ],
)
def test_values_of_the_declared_type(value, hint, expected):
    found = checked("x", value, hint)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        ("2", int, "an integer"),
        (2.5, int, "an integer"),
        (True, int, "an integer"),
        (NAN, int, "an integer"),
        (INF, int, "an integer"),
        ("1e-4", float, "a number"),
        (NAN, float, "a number"),
        (INF, float, "a number"),
        (10**400, float, "a number"),
        (True, float, "a number"),
        ([1.0], float, "a number"),
        (1 + 2j, float, "a number"),
        (NAN, Annotated[float, Range(above=0, infinite=True)], "a number, above 0"),
        (1, bool, "true or false"),
        ("true", bool, "true or false"),
        (5, str, "text"),
        (None, str, "text"),
        (0, Count, "at least 1"),
        ("0", Count, "an integer, at least 1"),
        (-1, Natural | None, "at least 0 or none"),
        (0.0, Positive, "above 0"),
        (2**31, Seed, "between 0 and 2147483647"),
        (1.5, Annotated[float, Range(above=0, most=1)], "above 0 and at most 1"),
        ("max", Literal["sum", "mean"], "one of sum, mean"),
        ([0], list[Count], "a list, each at least 1"),
        ([1, "a"], list[Count], "a list, each an integer, at least 1"),
        ([1], tuple[int, int], "a list of 2, each an integer"),
        ([1, 2], tuple[str, int], "a list of 2 (text; an integer)"),
        ("ab", list[str], "a list, each text"),
        ([1], dict, "`key: value` lines"),
    ],
)
def test_an_error_names_option_value_and_what_is_allowed(value, hint, wanted):
    with pytest.raises(SecError) as err:
        checked("conf: x", value, hint)
    assert str(err.value).startswith("conf: x ") and str(err.value).endswith(f": must be {wanted}")
    assert "\n" not in str(err.value) and len(str(err.value)) < 300


def test_a_place_may_be_in_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/users/me")
    assert checked("path", "~/llama", Place | None) == "/users/me/llama"
    assert checked("path", "a/~b", Place) == "a/~b"
    assert said(Place | None) == "text or none"


def library(width, rate=0.1, patience=3, mode="min", flag=False, *, size: "Unknown" = 3, **more):  # noqa: F821
    """As libraries have them: without annotations, or with some that only a type checker can read."""


def test_arguments_without_annotations_are_as_their_defaults():
    conf = {"width": [1], "rate": 1e-4, "patience": 5, "mode": "max", "flag": True, "size": 4}
    assert check_conf("conf", library, conf) == conf
    for key, value in {"rate": "1e-4", "patience": "many", "mode": 3, "flag": 1}.items():
        with pytest.raises(SecError, match=f"conf: {key} "):
            check_conf("conf", library, conf | {key: value})
    with pytest.raises(SecError, match="conf: unknown key 'wdith'; known: flag, mode"):
        check_conf("conf", library, {"wdith": 1})
    with pytest.raises(SecError, match="conf: unknown key '3'"):
        check_conf("conf", library, {3: 1})
    with pytest.raises(SecError, match="conf: 'width' is missing"):
        check_conf("conf", library, {})
    assert check_conf("conf", library, {"rate": 2}, later=("width",), hints={"rate": Positive}) == {"rate": 2.0}
    with pytest.raises(SecError, match=r"conf \[1\]: must be `key: value` lines"):
        check_conf("conf", library, [1])
    assert parameters_of(library)["width"] == (Any, True)

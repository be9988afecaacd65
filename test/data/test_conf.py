"""YAML as people write it."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet2_secap.data.conf import dump_yaml, parse_yaml, read_extended, read_yaml
from espnet2_secap.errors import SecError

PLAIN = {
    "1e-4": 1e-4, "5E+3": 5000.0, "-1e-1": -0.1, "1.0e-3": 1e-3, ".5": 0.5, "1.": 1.0, "010": 10, "0x10": 16, "0o10": 8,
    "1_000": 1000, "+1": 1, "-0": 0, ".inf": math.inf, "-.inf": -math.inf, "yes": True, "off": False, "~": None,
    "null": None, "": None, "'1e-4'": "1e-4", '"5"': "5", "1:30": "1:30", "2026-01-01": "2026-01-01", "1e": "1e",
    "e4": "e4", "1e-4x": "1e-4x", "a-1": "a-1", "0.1.0": "0.1.0", "0o8": "0o8",
}  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_numbers_are_numbers_and_text_is_text(text):
    for form, place in ((f"a: {text}", lambda x: x["a"]), (f"a: {{b: [{text or '~'}]}}", lambda x: x["a"]["b"][0])):
        found = place(parse_yaml(form))
        assert found == PLAIN[text] and type(found) is type(PLAIN[text])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("x: {a: 1, a: 1}", "line 1: the key 'a' is there twice"),
        ("a: [", "expected the node content"),
        ("? [1]\n: 2", "unhashable key"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!int b", "invalid literal"),
        ("[" * 3000, "recursion"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SecError, match=f"a.yaml: not a YAML file: .*{said}") as err:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(err.value)


def test_a_file_of_options(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfbase: &b {x: 1}\r\nmore: {<<: *b, x: 1e-4}\r\n")
    assert read_yaml(path) == {"base": {"x": 1}, "more": {"x": 1e-4}}
    path.write_text("# nothing but a comment\n")
    assert read_yaml(path) == {}
    for text, said in (("- 1", "write lines `key: value`"), ("1: 2", "key 1: must be text")):
        path.write_text(text)
        with pytest.raises(SecError, match=said):
            read_yaml(path)


WRITTEN = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=8)  # PyYAML loses some of the others
TEXTS = st.sampled_from([*PLAIN, "1e5", "true", "0b1", "190:20:30", "=", "<<"]) | WRITTEN
VALUES = st.recursive(
    TEXTS | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_alike_by_us_and_by_others(conf):
    text = dump_yaml(conf)
    assert parse_yaml(text) == conf
    assert yaml.safe_load(text) == conf


def test_a_file_over_the_one_that_it_extends(tmp_path):
    """Sections are joined key by key, lists and other values replaced; the path is relative to the file."""
    (tmp_path / "more").mkdir()
    (tmp_path / "base.yaml").write_text("model: caption\nmodel_conf: {a: 1, b: {c: 1}}\nlist: [1]\nlr: 1\n")
    own = tmp_path / "more" / "own.yaml"
    own.write_text("extends: ../base.yaml\nmodel: distill\nmodel_conf: {b: {d: 2}}\nlist: [2]\n")
    found = []
    expected = {"model": "distill", "model_conf": {"a": 1, "b": {"d": 2}}, "list": [2], "lr": 1}
    assert read_extended(own, found=found) == expected
    assert [Path(one).name for one in found] == ["own.yaml", "base.yaml"]
    joined = read_extended(own, depth=2, join_lists=True)
    assert joined["list"] == [1, 2] and joined["model_conf"]["b"] == {"c": 1, "d": 2}


def test_a_link_extends_what_lies_beside_it(tmp_path):
    """So that recipes share a configuration which extends their own."""
    for folder, value in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.yaml").write_text(f"lr: {value}\n")
    (tmp_path / "one" / "own.yaml").write_text("extends: base.yaml\n")
    (tmp_path / "two" / "own.yaml").symlink_to("../one/own.yaml")
    assert read_extended(tmp_path / "two" / "own.yaml") == {"lr": 2}


@pytest.mark.parametrize(
    "text, said", [("extends: own.yaml", "leads back to itself"), ("extends: [1]", "must be the path of a file")]
)
def test_extends_that_leads_nowhere(tmp_path, text, said):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SecError, match=said):
        read_extended(tmp_path / "own.yaml")

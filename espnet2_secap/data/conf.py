"""YAML as people write it: the one reader of configurations, and a writer that it understands.

PyYAML keeps to YAML 1.1, in which `1e-4` is text, `010` is eight, `1:30` is ninety, `2026-01-01` is no text, and the
later of two equal keys wins. Here numbers are those of YAML 1.2, and a key that is there twice is an error.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError, shorten

_INT = re.compile(r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PREFIX = {kind: f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp", "merge")}


def parse_yaml(text: str) -> object:
    """What a YAML text says.

    Raises:
        ValueError: what is wrong with it, on one line.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as err:  # TypeError: a key that is a list
        raise ValueError(" ".join(str(err).split()) or type(err).__name__) from err


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file of options; an empty one is {}.

    Raises:
        SecError: no such file, not YAML, a key that is there twice, or something other than `key: value` lines.
    """
    try:
        conf = parse_yaml(read_text(path))
    except SecError as err:
        if not Path(path).is_file():
            raise
        raise SecError(f"{path}: not a YAML file: {str(err).removeprefix(f'{path}').lstrip(':').strip()}") from None
    except ValueError as err:
        raise SecError(f"{path}: not a YAML file: {err}; fix it") from err
    if conf is None:
        return {}
    if not isinstance(conf, dict):
        raise SecError(f"{path}: not a YAML file of options; write lines `key: value`")
    for key in conf:
        if not isinstance(key, str):
            raise SecError(f"{path}: key {shorten(repr(key))}: must be text")
    return conf


def read_extended(
    path: str | Path, depth: int = 1, join_lists: bool = False, found: list[str] | None = None, seen: Sequence[str] = ()
) -> dict:
    """A YAML file over the one that its line `extends: FILE` names, a path relative to it.

    Args:
        depth: of sections whose keys are added to those of the other file, or replace them; what lies deeper is
            replaced as a whole.
        join_lists: lists at the top are joined, not replaced.
        found: the names of all files are added.
        seen: files that lead to this one.

    Raises:
        SecError: a file that cannot be read, or one that extends itself.
    """
    real = os.path.realpath(path)
    if real in seen:
        raise SecError(f"{path}: extends: leads back to itself; remove the line")
    conf = read_yaml(path)
    if found is not None:
        found.append(str(path))
    base = conf.pop("extends", None)
    if base is None:
        return conf
    if not isinstance(base, str):
        raise SecError(f"{path}: extends: must be the path of a file")
    base = os.path.join(os.path.dirname(path), base)
    return _over(read_extended(base, depth, join_lists, found, [*seen, real]), conf, depth, join_lists)


def _over(base: Mapping, own: Mapping, depth: int, join_lists: bool) -> dict:
    joined = dict(base)
    for key, value in own.items():
        if depth and isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            joined[key] = _over(base[key], value, depth - 1, False)
        elif join_lists and isinstance(value, list) and isinstance(base.get(key), list):
            joined[key] = [*base[key], *value]
        else:
            joined[key] = value
    return joined


def dump_yaml(conf: Mapping, stream=None) -> str | None:
    """Write YAML that this reader and others read alike: text that looks like a number of either is quoted."""
    import yaml

    return yaml.dump(dict(conf), stream, Dumper=_dumper(), allow_unicode=True, sort_keys=False)


def _plain(resolvers: dict, left_out: Collection[str] = ()) -> dict:
    """PyYAML's table of what unquoted text may be, with our numbers: first character -> (tag, pattern)."""
    gone = {_PREFIX[kind] for kind in left_out}
    table = {first: [one for one in found if one[0] not in gone] for first, found in resolvers.items()}
    for first in "-+.0123456789":
        ours = [(_PREFIX["int"], _whole(_INT)), (_PREFIX["float"], _whole(_FLOAT))]
        table[first] = [*table.get(first, []), *ours]
    return table


def _whole(pattern: re.Pattern) -> re.Pattern:
    return re.compile(rf"(?:{pattern.pattern})$")


@cache
def _loader() -> type:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML with our numbers and without repeated keys."""

        yaml_implicit_resolvers = _plain(yaml.SafeLoader.yaml_implicit_resolvers, ("int", "float", "timestamp"))

        def construct_mapping(self, node, deep=False):
            seen = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if key.tag == _PREFIX["merge"] or not isinstance(key, yaml.ScalarNode):
                    continue
                if (key.tag, key.value) in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"line {line}: the key {key.value!r} is there twice; remove one of them")
                seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

        def construct_int(self, node):
            text = self.construct_scalar(node).replace("_", "")
            return int(text, 0) if re.match("0[ox]", text) else int(text)

        def construct_float(self, node):
            text = self.construct_scalar(node).replace("_", "").lower()
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    Loader.add_constructor(_PREFIX["int"], Loader.construct_int)
    Loader.add_constructor(_PREFIX["float"], Loader.construct_float)
    return Loader


@cache
def _dumper() -> type:
    import yaml

    class Dumper(yaml.SafeDumper):
        """No aliases; quotes what either reader would take for a number."""

        yaml_implicit_resolvers = _plain(yaml.SafeDumper.yaml_implicit_resolvers)

        def ignore_aliases(self, data) -> bool:
            return True

    return Dumper

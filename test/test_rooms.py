"""The layout of the package: no import runs from a lower room to a higher one, and none in a circle."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "espnet2_secap"
# From the top floor down: a room (a folder, or a file beside the folders) imports only rooms that stand below it.
ROOMS = """
    bin inference publish tasks train listen report model metric feats decoder text encoder bridge augment sampler data
    pretrained lora model_folder safe_load devices loss masks process progress cli_types values errors lazy
""".split()
LIGHT = ("data", "metric", "report", "listen")  # rooms that know nothing of models
HEAVY = ("torch", "espnet", "espnet2", "s3prl", "transformers")


def modules() -> dict[str, Path]:
    """Name -> file of every module of the package."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, module: str) -> set[str]:
    """What a file imports, wherever in it; of `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where a thing lives"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


MODULES = modules()
GRAPH = {name: {other for other in imports(path, name) if other in MODULES} for name, path in MODULES.items()}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_room_has_its_floor():
    assert {room(name) for name in MODULES} - {""} == set(ROOMS)


def test_no_import_runs_upwards():
    upwards = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if room(name) and room(other) and ROOMS.index(room(other)) < ROOMS.index(room(name))
    ]
    assert not upwards


def test_no_import_runs_in_a_circle():
    try:
        list(
            TopologicalSorter({name: others - {"espnet2_secap", name} for name, others in GRAPH.items()}).static_order()
        )
    except CycleError as err:
        pytest.fail(" -> ".join(err.args[1]))


@pytest.mark.parametrize("light", LIGHT)
def test_a_light_room_imports_no_model_library(light):
    names = [name for name in MODULES if room(name) == light]
    code = f"import sys\nimport {', '.join(names)}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

import importlib
import subprocess
import sys

import pytest


@pytest.fixture
def wheels(repo, monkeypatch):
    monkeypatch.syspath_prepend(str(repo / "tools"))
    return importlib.import_module("wheels")


def test_what_a_gpu_node_has_is_left_out(wheels):
    for name in ("torch", "torchaudio", "triton", "nvidia-cudnn-cu13", "cuda-toolkit"):
        assert wheels.TORCH.fullmatch(name), name
    for name in ("torch-complex", "torchmetrics", "espnet", "s3prl", "transformers"):
        assert not wheels.TORCH.fullmatch(name), name


@pytest.mark.parametrize("name", ["PyYAML", "pyyaml"])
def test_names_are_compared_as_the_index_does(wheels, name):
    assert wheels.plain(name) == "pyyaml" and wheels.plain("ruamel_yaml.clib") == "ruamel-yaml-clib"


@pytest.mark.slow(6)
def test_collected_wheels_serve_an_install_without_an_index(repo, tmp_path):
    """A lock of two small packages, one of them on the index as source only, for this Python; one the node has."""
    if not (repo / "tools" / "uv" / "bin" / "uv").exists():
        pytest.skip("no tools/uv: make -C tools")
    lock, have, dest = tmp_path / "requirements.lock", tmp_path / "have.txt", tmp_path / "wheels"
    lock.write_text("distance==0.1.3\nhumanfriendly==10.0\nsix==1.17.0\nnvidia-nvtx==13.0.85\nruff==0.17.5\n")
    have.write_text("Six==1.16.0\n")
    dest.mkdir()
    (dest / "distance-0.0.1-py3-none-any.whl").write_text("of an earlier lock")
    version = f"3.{sys.version_info.minor}"
    python = str(repo / "tools" / "uv" / "bin" / "python")
    done = subprocess.run(
        [python, str(repo / "tools" / "wheels.py"), "--dest", str(dest), "--python_version", version]
        + ["--lock", str(lock), "--have", str(have)],
        capture_output=True,
        text=True,
    )
    if "failed to lookup" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("no package index here")
    assert done.returncode == 0, done.stderr[-2000:]
    names = sorted(path.name.lower().split("-")[0] for path in dest.iterdir())
    assert names == ["distance", "humanfriendly"] and "--no-index" in done.stdout
    install = [python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(tmp_path / "site")]
    subprocess.run([*install, *map(str, dest.glob("*.whl"))], check=True)
    code = "import distance, humanfriendly; print(distance.levenshtein('abc', 'abd'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": f"{tmp_path}/site"})
    assert done.stdout.strip() == "1", done.stderr


def test_a_version_of_python_that_is_none(repo, tmp_path):
    command = [sys.executable, str(repo / "tools" / "wheels.py"), "--dest", str(tmp_path), "--python_version", "12"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "PYTHON_VERSION=12: expected a form such as 3.12" in done.stderr

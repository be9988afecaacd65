"""The programs of egs2/mini_emospeech/sec1/local, and a corpus of the smallest useful size made by them."""

import csv
import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "mini_emospeech" / "sec1"
SIZES = {"train": 48, "valid": 6, "test": 12}
TINY = {
    "hubert": {
        "conv_dim": [8, 8],
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "clusters": [8, 4, 4],
        "steps": 2,
        "batch_seconds": 4.0,
        "threads": 2,
    },
    "llm": {
        "merges": 20,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "steps": 2,
        "batch_tokens": 100,
        "threads": 1,
    },
}


@pytest.fixture(scope="module")
def local():
    """Import a module of the recipe's local/."""
    sys.path.insert(0, str(RECIPE / "local"))
    yield importlib.import_module
    sys.path.remove(str(RECIPE / "local"))


def synthesize(output, *options):
    command = [sys.executable, "local/synthesize.py", "--output", output]
    for name, size in SIZES.items():
        command += [f"--n_{name}", str(size)]
    return subprocess.run([*command, *options], cwd=RECIPE, capture_output=True, text=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "data"
    done = synthesize(folder, "--nj", "1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def full(local):
    """The plan of the whole corpus, without the audio."""
    sizes = {"train": 1200, "valid": 100, "test": 200}
    return {name: local("plan").draw_set(name, size, seed=0) for name, size in sizes.items()}


def checksums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.wav")}


def table(corpus, name):
    with open(corpus / "wav" / f"{name}.tsv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


# the corpus

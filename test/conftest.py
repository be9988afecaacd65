"""What every test can ask for."""

import os
from pathlib import Path

import pytest

# Looking for a model that is nowhere takes 46 s of retries where there is no network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side: a second thread in each would only wait for a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytest_plugins = ["marks", "tiny_corpus", "tiny_decoding", "tiny_hubert"]

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real recordings and fixtures, beside the project; not part of it."""
    from marks import shared_folder

    return shared_folder()


@pytest.fixture(scope="session")
def htsat_bart(shared) -> Path:
    """A HTSAT-BART of the released code at tiny size, with what the released code computes from it."""
    return shared / "htsat_bart"


@pytest.fixture(scope="session", params=["secap_tiny_synthetic", "secap_tiny"])
def secap_tiny(request) -> Path:
    """A checkpoint of the released code at tiny size, with what the released code computes from it: one with audio of
    our own in test/fixtures, one with real recordings in shared/."""
    ours = REPO / "test" / "fixtures" / request.param
    folder = ours if ours.is_dir() else request.getfixturevalue("shared") / "fixtures" / request.param
    if not folder.is_dir():
        pytest.skip(f"needs shared/fixtures/{request.param}")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> str:
    from tiny import make_llama

    return str(make_llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory, tiny_llama) -> str:
    from tiny import make_bart

    return str(make_bart(tmp_path_factory.mktemp("parts") / "bart", tiny_llama))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> str:
    from tiny import make_bert

    return str(make_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="session")
def slurm():
    """A real Slurm of two nodes, for all tests that ask for it."""
    from slurm_cluster import SlurmCluster

    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def marker(tmp_path) -> Path:
    """A folder that `crafted.Evil` would make; at the end of the test it may not be there."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "code was run"

"""A recipe that has run, once for all tests of recipes."""

from pathlib import Path

import pytest
from recipe import SMALL_CORPUS, recipe_folder, run


@pytest.fixture(scope="session")
def finished(repo, tmp_path_factory) -> tuple[Path, str]:
    """mini_emospeech after all eight stages, and what it printed. Tests work on copies of the folder."""
    folder = recipe_folder(repo, "mini_emospeech", tmp_path_factory.mktemp("mini"))
    done = run(folder, "--local_data_opts", SMALL_CORPUS, "--stop-stage", "8")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout

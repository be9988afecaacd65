"""A recipe that has run, once for all tests of recipes, whatever process they are in."""

import fcntl
from pathlib import Path

import pytest
from recipe import SMALL_CORPUS, recipe_folder, run


@pytest.fixture(scope="session")
def finished(repo, tmp_path_factory) -> tuple[Path, str]:
    """mini_emospeech after all eight stages, and what it printed. Tests work on copies of the folder."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if base.name.startswith("popen-gw") else base) / "finished"  # pytest-xdist: one for all
    place.mkdir(exist_ok=True)
    folder, printed, failed = place / "recipe", place / "printed", place / "failed"
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists() and not failed.exists():
            folder.mkdir()
            done = run(recipe_folder(repo, "mini_emospeech", folder), "--local_data_opts", SMALL_CORPUS)
            output = done.stdout if done.returncode == 0 else done.stdout[-3000:] + done.stderr[-3000:]
            (printed if done.returncode == 0 else failed).write_text(output, encoding="utf-8")
    assert not failed.exists(), failed.read_text(encoding="utf-8")
    return folder, printed.read_text(encoding="utf-8")

"""kill -9 in the middle of a stage, then the same command again: the outputs are those of an undisturbed run."""

import os
import random
import shutil

import pytest
from interruption import Trial, differences, outputs, stage_seconds

pytestmark = [pytest.mark.recipe, pytest.mark.slow(30), pytest.mark.needs("proc")]
KILLS = 2  # in a row; tools/benchmark_kills.py does more
SEED = int(os.environ.get("SEC_KILLS_SEED", random.randrange(10**6)))


@pytest.mark.parametrize("stage", [2, 3, 4, 5, 6, 7, 8])
def test_a_killed_stage_ends_as_if_nothing_had_been(finished, tmp_path, stage):
    reference, printed = finished
    folder = shutil.copytree(reference, tmp_path / "recipe", symlinks=True)
    trial = Trial(folder, stage, stage_seconds(printed)[stage], SEED)
    problems = trial.run(KILLS)
    about = f"again by SEC_KILLS_SEED={SEED}; killed: {'; '.join(trial.killed)}"
    assert not problems, f"{problems[0]} ({about})"
    expected = outputs(reference, stage)
    assert expected and differences(expected, outputs(folder, stage)) == [], about

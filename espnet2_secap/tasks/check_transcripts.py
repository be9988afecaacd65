"""What sec.sh checks of the transcriptions when it starts, where model_conf condition reads them."""

import os
from collections.abc import Sequence
from pathlib import Path

from espnet2_secap.data.io import good_lines, scan_lines
from espnet2_secap.data.transcripts import check_transcripts, read_transcripts
from espnet2_secap.tasks.check import Findings, data_folder
from espnet2_secap.tasks.recipe import Recipe
from espnet2_secap.text.roles import reads_text


def check_texts(recipe: Recipe, stages: Sequence[int], found: Findings) -> None:
    """Each utterance has one, of training and validation in stage 6, of the test sets in stage 7; as far as is known.

    Utterances that stage 2 leaves out are looked at too, and those that --missing_text skip leaves out are not.
    """
    for option in ("text_file", "train_text_file"):
        path = getattr(recipe, option)
        if path and not os.path.isfile(path):
            found.problems.append(f"--{option} {path}: no such file; check the path")
            return
    if 6 in stages and reads_text(recipe.condition()):
        for dset in (recipe.train_set, recipe.valid_set):
            leaves_out = recipe.missing_text == "skip" and not recipe.train_text_file and 2 in stages
            if not (leaves_out and dset not in recipe.tests):
                _check_set(recipe, stages, dset, recipe.train_text_file, found, may_skip=True)
    if 7 in stages and reads_text(recipe.condition(trained=6 not in stages)):
        for dset in recipe.tests:
            _check_set(recipe, stages, dset, recipe.text_file, found)


def _check_set(
    recipe: Recipe, stages: Sequence[int], dset: str, given: str, found: Findings, may_skip: bool = False
) -> None:
    folder = data_folder(recipe, stages, dset)
    if folder is None or not os.path.isfile(f"{folder}/wav.scp"):
        return
    segments = Path(folder, "segments")
    ids = [utt for _, utt, _ in scan_lines(segments if segments.is_file() else Path(folder, "wav.scp"))[0]]
    path, missing = given or f"{folder}/text", "empty" if recipe.missing_text == "empty" else "error"
    with found.of():
        if not may_skip or not os.path.isfile(path):
            read_transcripts(path, ids, missing, f"set {dset}")
            return
        table = {utt: value for _, utt, value in good_lines(path, may_be_empty=True)}
        check_transcripts(path, table, ids, missing, f"set {dset}", skip=not given)

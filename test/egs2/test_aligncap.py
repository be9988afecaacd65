"""run_aligncap.sh on the smallest useful corpus: all stages with few captions, again, in folds, what is refused."""

import json
import subprocess

import pytest
import yaml
from recipe import SMALL_CORPUS, recipe_folder, run

from espnet2_secap.data.io import read_captions
from espnet2_secap.data.preferences import read_pairs
from espnet2_secap.text.clues import read_clues

pytestmark = [pytest.mark.recipe, pytest.mark.slow(500)]
FEW = ["--caption_fraction", "0.5", "--taught", "2", "--wrong_captions", "0.3", "--prefer_args", "--max_epoch 2"]
MORE = ["--samples_args", "--max_length 16 --num_candidates 4", "--best_of", "2", "--control_args", "--max_epoch 1"]
METRICS = "--metrics emotion_recall hallucination_factuality"
OPTIONS = "--train_nproc 1 --train_threads 1 --inference_nj 1 --nearest_caption false --shuffled_audio false"
OPTIONS = f"{OPTIONS} --probe false --score_args '{METRICS}'"
ZERO_SHOT = "--zero_shot_sets other=data/valid"
CLUES = ["--clues", "predicted", "--model_args"]
CLUES += ["--model_conf condition=[queries,clues] --model_conf attributes_weight=0.3 --max_epoch 1"]


def aligncap(folder, *words, few=FEW, options=f"{OPTIONS} {ZERO_SHOT}"):
    command = ["./run_aligncap.sh", *few, *MORE, "--options", options, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)


@pytest.fixture(scope="module")
def made(repo, tmp_path_factory):
    folder = recipe_folder(repo, "mini_emospeech", tmp_path_factory.mktemp("aligncap"))
    for name in ("aligncap.sh", "run_aligncap.sh", "run_tables.sh"):
        (folder / name).symlink_to(repo / "egs2/mini_emospeech/sec1" / name)
    for path in (folder / "conf").glob("decode_*.yaml"):
        conf = yaml.safe_load(path.read_text()) | {"max_length": 16, "batch_size": 8}
        path.unlink()
        path.write_text(yaml.safe_dump(conf))
    corpus = ["--local_data_opts", SMALL_CORPUS]
    for words in (["--stop_stage", "1", *corpus], ["--stage", "2", "--stop_stage", "3", *ZERO_SHOT.split()]):
        done = run(folder, *words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    done = aligncap(folder, "--stage", "4", "--stop-stage", "12")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
    return folder, done


def test_all_stages(made):
    folder, done = made
    exp = folder / "exp" / "aligncap"
    results = json.loads((exp / "results.json").read_text())
    systems = {name.split("/")[0] for name in results}
    assert {"sec_distill", "sec_prefer", "sec_ce", "sec_rejection"} <= systems
    config = yaml.safe_load((exp / "sec_distill" / "config.yaml").read_text())
    assert config["model"] == "distill"
    config = yaml.safe_load((exp / "sec_prefer" / "config.yaml").read_text())
    assert config["model"] == "prefer"
    for system in ("sec_distill/decode", "sec_distill/decode_best", "sec_prefer/decode"):
        assert (exp / system / "other/score.json").is_file(), system
    for system in ("sec_teacher/decode_taught", "sec_distill/decode_samples"):
        assert [path.name for path in (exp / system).iterdir() if path.name != "logs"] == ["train"], system
    learned = read_captions(folder / "dump/raw/train_aligncap_taught/captions")
    drawn = read_captions(exp / "random_caption/test/captions")  # not of the sets that controls learn from
    assert {caption for one in drawn.values() for caption in one} <= {text for one in learned.values() for text in one}
    assert (exp / "pairs" / "PAIRS.md").is_file() and "Done: stages 4 to 12" in done.stdout


def test_half_of_the_utterances_are_taught(made):
    folder, _ = made
    sets = ("train", "train_aligncap_known", "train_aligncap_taught")
    count = [len((folder / "dump/raw" / name / "captions").read_text().splitlines()) for name in sets]
    assert count == [36, 18, 36]


def test_experiments_of_one_last_name_have_their_own_sets(made):
    folder, _ = made
    for expdir, fraction in (("exp/one/few", "0.5"), ("exp/other/few", "0.3")):
        few = ["--expdir", expdir, "--caption_fraction", fraction]
        done = aligncap(folder, "--stage", "4", "--stop-stage", "4", few=few)
        assert done.returncode == 0, done.stderr
    sets = ("train_one_few_known", "train_other_few_known")
    count = [len((folder / "dump/raw" / name / "captions").read_text().splitlines()) for name in sets]
    assert count == [18, 12]  # of 6 categories, each of 6 utterances


def test_a_stage_again(made):
    folder, _ = made
    for stage in ("9", "10", "11"):
        done = aligncap(folder, "--stage", stage, "--stop-stage", stage)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_pairs_of_another_set(made):
    folder, _ = made
    words = ["--pairs_set", "train_aligncap_known", "--pairs_dir", "exp/half"]
    for first, last in (("4", "4"), ("9", "11")):
        done = aligncap(folder, *words, "--prefer_exp", "exp/half/sec_prefer", "--stage", first, "--stop-stage", last)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    pairs = read_pairs(folder / "exp/half/pairs.jsonl")
    known = read_captions(folder / "dump/raw/train_aligncap_known/captions")
    assert pairs and {one.id for one in pairs} <= set(known)
    assert (folder / "exp/half/sec_prefer/valid.loss.ave.pth").is_file()


def test_in_folds_with_clues(made):
    folder, _ = made
    first = ["--align_model", "latest.pth", "--align_args", "--max_epoch 1"]
    words = ["--folds", "2", "--expdir", "exp/clues", *first, *CLUES, "--controls", "best"]
    done = aligncap(folder, *words, "--stage", "4", "--stop-stage", "12", few=[], options=OPTIONS)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
    results = json.loads((folder / "folds/2/exp/results.json").read_text())
    decoded = ("sec_distill/decode", "sec_distill/decode_best", "sec_prefer/decode")
    assert {name for name in results if "_caption" not in name} == {f"clues/{name}" for name in decoded}
    for name in decoded:  # all recordings, each by the fold that tests it
        assert len((folder / "folds/2/exp/clues" / name / "test/captions").read_text().splitlines()) == 60
    exp = folder / "folds/2/1/exp/clues"
    rows = (exp / "sec_distill/decode_samples/train/candidates.jsonl").read_text().splitlines()
    clues = {row["id"]: row["clues"] for row in map(json.loads, rows)}
    assert clues == read_clues(exp / "pairs/clues") and any(clues.values())
    assert "clues" in json.loads((exp / "pairs/reference/reference.json").read_text())["made_from"]


def test_a_table_in_folds_has_preference_optimisation(made):
    """From the model of each fold, on pairs of the recordings that this fold trains on."""
    folder, _ = made
    steps = {"samples_args": "--max_length 16 --num_candidates 4", "prefer_args": "--max_epoch 1"}
    rows = [{"system": name, "cells": [name]} for name in ("secap", "po")]
    conf = {
        "extends": "tables_secap.yaml",
        "own_data": False,
        "options": {"local_data_opts": SMALL_CORPUS},
        "metric": "emotion_recall",
        "systems": {"po": {"start": "secap", "options": steps}},
        "tables": {"po": {"title": "PO", "columns": ["system"], "metrics": ["emotion_recall"], "rows": rows}},
        "claims": [{"claim": "PO helps", "table": "po", "better": "po", "worse": "secap"}],
    }
    (folder / "conf/po.yaml").write_text(yaml.safe_dump(conf))
    options = f"{OPTIONS} --inference_model latest.pth --align_model latest.pth"
    for name in ("align", "caption"):
        options += f" --{name}_args '--max_epoch 1'"
    command = ["./run_tables.sh", "--systems", "conf/po.yaml", "--tables", "po", "--folds", "2", "--options", options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
    (table, claims) = json.loads((folder / "exp/TABLES.json").read_text())["sections"]
    assert [row[0] for row in table["rows"]] == ["secap", "po"] and claims["rows"][0][4] == "1"
    for k in (1, 2):
        fold = folder / f"tables/folds/2/{k}"
        pairs = read_pairs(fold / "exp/po_seed0/pairs/pairs.jsonl")
        assert pairs and {one.id for one in pairs} <= set(read_captions(fold / "dump/raw/train/captions"))
        config = yaml.safe_load((fold / "exp/sec_caption_po_seed0/config.yaml").read_text())
        assert config["model"] == "prefer" and "exp/sec_caption_secap_seed0/latest.pth" in str(config["init_model"])


@pytest.mark.parametrize(
    "words, said",
    [
        (["--stage", "10", "--expdir", "exp/none"], "exp/none/pairs/pairs.jsonl is missing: run stage 9 first"),
        (["--stage", "12", "--controls", "cf"], "'cf' is unknown; choose from: ce, best, rejection"),
        (["--caption_fraction", "0", "--stage", "4"], "no utterance is left; give more captions"),
        (["--options", "--nj 1 --align-args '--max_epoch 1'"], "--options: --align-args is set by aligncap.sh; choose"),
        (
            ["--folds", "2", "--pairs_set", "train"],
            "--pairs_set train: is one set, and with --folds each fold has its own",
        ),
        (["12"], "unexpected argument '12'"),
    ],
)
def test_bad_input_is_one_line(made, words, said):
    folder, _ = made
    done = aligncap(folder, *words)
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert done.returncode != 0 and len(errors) == 1 and said in errors[0], done.stderr

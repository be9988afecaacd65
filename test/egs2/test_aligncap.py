"""run_aligncap.sh on the smallest useful corpus: all stages with few captions, again, in folds, what is refused."""

import json
import subprocess

import pytest
import yaml
from recipe import SMALL_CORPUS, recipe_folder, run

from espnet2_secap.text.clues import read_clues

pytestmark = [pytest.mark.recipe, pytest.mark.slow(300)]
FEW = ["--caption_fraction", "0.5", "--taught", "2", "--wrong_captions", "0.3", "--prefer_args", "--max_epoch 2"]
MORE = ["--samples_args", "--max_length 16 --num_candidates 4", "--best_of", "2", "--control_args", "--max_epoch 1"]
METRICS = "--metrics emotion_recall hallucination_factuality"
OPTIONS = "--train_threads 1 --inference_nj 1 --nearest_caption false --shuffled_audio false --probe false"
OPTIONS = f"{OPTIONS} --score_args '{METRICS}'"
ZERO_SHOT = "--zero_shot_sets other=data/valid"
CLUES = ["--clues", "predicted", "--model_args"]
CLUES += ["--model_conf condition=[queries,clues] --model_conf attributes_weight=0.3 --max_epoch 1"]


def aligncap(folder, *words, few=FEW, options=f"{OPTIONS} {ZERO_SHOT}"):
    command = ["./run_aligncap.sh", *few, *MORE, "--options", options, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def made(repo, tmp_path_factory):
    folder = recipe_folder(repo, "mini_emospeech", tmp_path_factory.mktemp("aligncap"))
    for name in ("aligncap.sh", "run_aligncap.sh"):
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
    assert (exp / "pairs" / "PAIRS.md").is_file() and "Done: stages 4 to 12" in done.stdout


def test_half_of_the_utterances_are_taught(made):
    folder, _ = made
    sets = ("train", "train_aligncap_known", "train_aligncap_taught")
    count = [len((folder / "dump/raw" / name / "captions").read_text().splitlines()) for name in sets]
    assert count == [36, 18, 36]


def test_a_stage_again(made):
    folder, _ = made
    for stage in ("9", "10", "11"):
        done = aligncap(folder, "--stage", stage, "--stop-stage", stage)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


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


@pytest.mark.parametrize(
    "words, said",
    [
        (["--stage", "10", "--expdir", "exp/none"], "exp/none/pairs/pairs.jsonl is missing: run stage 9 first"),
        (["--stage", "12", "--controls", "cf"], "'cf' is unknown; choose from: ce, best, rejection"),
        (["--caption_fraction", "0", "--stage", "4"], "no utterance is left; give more captions"),
        (["--options", "--nj 1 --align-args '--max_epoch 1'"], "--options: --align-args is set by aligncap.sh; choose"),
        (["12"], "unexpected argument '12'"),
    ],
)
def test_bad_input_is_one_line(made, words, said):
    folder, _ = made
    done = aligncap(folder, *words)
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert done.returncode != 0 and len(errors) == 1 and said in errors[0], done.stderr

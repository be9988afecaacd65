"""Both recipes through all eight stages at the smallest useful size, and stages repeated alone."""

import json
import re
import shutil
import subprocess

import pytest
from recipe import recipe_folder, run

from espnet2_secap.data.io import read_kaldi

pytestmark = [pytest.mark.recipe, pytest.mark.slow(10)]


@pytest.fixture(scope="module")
def mini(finished, tmp_path_factory):
    folder, printed = finished
    return shutil.copytree(folder, tmp_path_factory.mktemp("mini") / "recipe", symlinks=True), printed


@pytest.mark.slow(60)
def test_mini_recipe_leaves_what_the_stages_promise(mini):
    folder, printed = mini
    for set_name in ("train", "valid", "test"):
        assert (folder / "dump" / "raw" / set_name / "bad_utts.tsv").exists()
        assert (folder / "dump" / "hubert" / set_name / "feats.scp").exists()
    decoded = folder / "exp" / "sec_caption_hubert" / "decode" / "test"
    for name in ("captions", "candidates.jsonl", "score.json", "scores.tsv"):
        assert (decoded / name).exists(), name
    assert len((decoded / "captions").read_text().splitlines()) == 12
    results = json.loads((folder / "exp" / "results.json").read_text())
    systems = {
        "sec_caption_hubert/decode",
        "sec_caption_hubert/decode_shuffled_audio",
        "sec_caption_hubert/decode_nearest_caption",
        "random_caption",
        "frequent_caption",
    }
    assert set(results) == systems
    wanted = {"bleu_4", "cider_unseen", "copies", "emotion_quadrant_accuracy"}
    assert all(wanted <= results[system]["test"].keys() for system in systems)
    assert results["random_caption"]["test"]["copies"]["mean"] == 100
    report = (folder / "exp" / "RESULTS.md").read_text(encoding="utf-8")
    first = report.index("## Does it listen? test (12 utterances), per cent")
    assert first < report.index("## test (12 utterances), per cent") < report.index("### 95% intervals of test")
    assert (folder / "exp" / "images" / "training_curves.png").stat().st_size > 1000
    probe = json.loads((folder / "exp" / "sec_align_hubert" / "probe.json").read_text())
    assert probe["emotion"]["n"] == 24 and 0 <= probe["emotion"]["accuracy"] <= 1
    assert "RESULTS.md" in printed and "epoch 1: train loss" in printed


def test_checkpoints_are_small(mini):
    folder, _ = mini
    frozen = (folder / "pretrained" / "llama" / "model.safetensors").stat().st_size
    import torch

    state = torch.load(folder / "exp" / "sec_caption_hubert" / "valid.loss.best.pth", weights_only=True)
    assert {key.split(".")[0] for key in state} == {"bridge", "projection"} and frozen > 0


def test_a_stage_alone_gives_the_same_again(mini):
    folder, _ = mini
    captions = folder / "exp" / "sec_caption_hubert" / "decode" / "test" / "captions"
    before = captions.read_bytes()
    captions.unlink()
    done = run(folder, "--stage", "7", "--stop-stage", "7", "--inference_nj", "2")  # samples do not depend on it
    assert done.returncode == 0, done.stderr
    assert captions.read_bytes() == before


@pytest.mark.slow(40)
def test_raw_audio_instead_of_features(mini):
    """--feats_type raw: the encoder runs in training; with a learned mixture of its layers."""
    folder, _ = mini
    encoder = (
        "--encoder s3prl --encoder_conf upstream=hf_hubert_custom --encoder_conf path=pretrained/hubert"
        " --encoder_conf layer=weighted_sum"
    )
    options = ["--stage", "4", "--feats_type", "raw", "--probe", "false", "--train_nproc", "2"]
    done = run(folder, *options, "--align_args", encoder, "--caption_args", encoder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "exp" / "sec_caption_raw" / "decode" / "test" / "score.json").exists()


@pytest.mark.slow(60)
def test_sets_of_another_recipe_are_decoded_and_scored_and_never_trained_on(repo, mini, tmp_path):
    """--zero_shot_sets: stages 2, 3, 7 and 8 beside the test set, with a table of their own; the model stays."""
    folder = shutil.copytree(mini[0], tmp_path / "recipe", symlinks=True)
    data = repo / "egs2/mini_zeroshot/sec1/local/data.sh"
    made = subprocess.run([data, "--size", "6", "--data", tmp_path / "other"], cwd=data.parents[1], capture_output=True)
    assert made.returncode == 0, made.stderr
    (stolen,) = list(read_kaldi(tmp_path / "other/noisy/wav.scp"))[:1]
    of_training = next(iter(read_kaldi(folder / "data/train/wav.scp").values()))
    shutil.copy(of_training, tmp_path / "other/wav/noisy" / f"{stolen}.wav")
    before = {path: path.read_bytes() for path in folder.glob("exp/sec_*/*.pth")}
    sets = f"{tmp_path}/other/male remote={tmp_path}/other/noisy/"
    options = ["--stage", "2", "--skip_train", "true", "--zero_shot_sets", sets]
    done = run(folder, *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"warning: 1 of 6 recordings of remote are in train too ({stolen} is " in done.stdout
    assert before == {path: path.read_bytes() for path in folder.glob("exp/sec_*/*.pth")} and len(before) > 3
    decoded = folder / "exp/sec_caption_hubert"
    for dset, source in (("male", f"{tmp_path}/other/male"), ("remote", f"{tmp_path}/other/noisy/")):
        assert (folder / "dump/hubert" / dset / "feats.scp").exists()
        assert not (folder / "exp/sec_stats_hubert" / dset).exists() and not (folder / "data" / dset).exists()
        for system in ("decode", "decode_shuffled_audio", "decode_nearest_caption"):
            meta = json.loads((decoded / system / dset / "score_meta.json").read_text())
            assert meta["zero_shot"] == source and meta["utterances"] == 6
    assert "zero_shot" not in json.loads((decoded / "decode/test/score_meta.json").read_text())
    report = (folder / "exp/RESULTS.md").read_text(encoding="utf-8")
    table = report.split("## Zero-shot: trained on train, tested on sets of other corpora", 1)[1].split("\n## ", 1)[0]
    rows = [line.split(" | ")[1:4] for line in table.splitlines() if line.startswith("| `sec_caption")]
    assert rows == [
        ["test", "(its own corpus)", "12"],
        ["male", f"`{tmp_path}/other/male`", "6"],
        ["remote", f"`{tmp_path}/other/noisy/`", "6"],
        ["mean", "(all zero-shot sets)", "12"],
    ]
    probed = json.loads((folder / "exp/sec_align_hubert/probe.json").read_text())
    assert probed["set"] == "valid+test"
    captions = tmp_path / "other/male/captions"  # the corpus has changed since stage 2
    captions.write_text(captions.read_text(encoding="utf-8").replace("音", "声"), encoding="utf-8")
    done = run(folder, "--stage", "7", "--zero_shot_sets", sets)
    assert done.returncode == 1 and "dump/raw/male: stage 2 did not make it from" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "stage, missing, maker",
    [("2", "data/test/wav.scp", 1), ("3", "dump/raw/train/wav.scp", 2), ("4", "feats.scp", 3), ("5", "speech_shape", 4),
     ("6", "valid.loss.best.pth", 5), ("7", "valid.loss.ave.pth", 6), ("8", "captions", 7)],
)  # fmt: skip
def test_a_stage_without_its_input_names_the_stage_that_makes_it(mini, tmp_path, stage, missing, maker):
    folder, _ = mini
    bare = tmp_path / "recipe"
    shutil.copytree(folder, bare, symlinks=True, ignore=shutil.ignore_patterns("data", "dump", "exp", "pretrained"))
    for name in ("data", "dump", "exp"):
        if int(stage) > 2 or name != "data":
            shutil.copytree(folder / name, bare / name, symlinks=True)
    hidden = {
        "3": "dump/raw", "4": "dump/hubert/train/feats.scp", "5": "exp/sec_stats_hubert", "6": "exp/sec_align_hubert",
        "7": "exp/sec_caption_hubert/valid.loss.ave.pth", "8": "exp/sec_caption_hubert/decode/test/captions",
    }.get(stage)  # fmt: skip
    if hidden and (bare / hidden).is_dir():
        shutil.rmtree(bare / hidden)
    elif hidden:
        (bare / hidden).unlink()
    elif stage == "2":
        shutil.copytree(folder / "data", bare / "data", symlinks=True)
        for name in ("train", "valid", "test"):
            (bare / "data" / name / "wav.scp").unlink()
    done = run(bare, "--stage", stage, "--stop-stage", stage)
    assert done.returncode == 1
    assert f"run stage {maker} first" in done.stderr, done.stderr
    assert missing.split("/")[-1] in done.stderr


def test_unknown_options_and_values(mini):
    folder, _ = mini
    for options, message in [
        (["--no_such_option", "1"], "no_such_option"),
        (["--feats_type", "mfcc"], "expected extracted or raw"),
        (["--stage", "6", "--caption_config", "conf/none.yaml"], "conf/none.yaml: no such configuration"),
    ]:
        done = run(folder, *options)
        assert done.returncode == 1 and message in done.stderr
    done = run(folder, "--stage", "6", "--stop-stage", "6", "--caption_args", "--no_such_key 1", "--sec_exp", "exp/bad")
    assert done.returncode == 1 and "no_such_key" in done.stderr and "Traceback" not in done.stderr


def test_help_lists_every_option(mini):
    folder, _ = mini
    done = run(folder, "--help")
    assert done.returncode == 0
    for option in ("stage", "upstream", "align_config", "inference_nj", "gpu_inference", "pretrained_model"):
        assert f"--{option} " in done.stdout


def test_a_new_corpus_runs_once_its_data_sh_is_written(repo, mini, tmp_path):
    """setup.sh, then a local/data.sh that makes data/: all stages, with the default configurations."""
    made, _ = mini
    done = subprocess.run([repo / "egs2/TEMPLATE/sec1/setup.sh", tmp_path / "corpus"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "corpus" / "sec1"
    (folder / "local" / "data.sh").write_text(f"#!/bin/sh\ncp -r {made}/data {made}/pretrained .\n")
    one = "--max_epoch 1 --sampler_conf num_categories=2 --sampler_conf per_category=4"
    options = ["--upstream_path", "pretrained/hubert", "--align_args", one, "--caption_args", "--max_epoch 1"]
    done = run(folder, *options, "--inference_args", "--num_candidates 2 --max_length 16")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "exp" / "RESULTS.md").is_file()
    assert all(re.search(rf"^ +{stage} ", done.stdout, re.MULTILINE) for stage in range(1, 9)), done.stdout[-900:]


@pytest.mark.slow(70)
def test_emospeech_recipe(repo, shared, tmp_path):
    folder = recipe_folder(repo, "emospeech", tmp_path)
    ids = sorted(path.stem for path in (shared / "emospeech" / "dataset" / "wav").glob("*.wav"))[::8]
    for name, part in (("train", ids[:40]), ("valid", ids[40:50]), ("test", ids[50:60])):
        (tmp_path / f"{name}_ids").write_text("".join(f"{utt}\n" for utt in part))
    lists = " ".join(f"--{name}_ids {tmp_path}/{name}_ids" for name in ("train", "valid", "test"))
    done = run(folder, "--local_data_opts", lists, environment={"EMOSPEECH": str(shared / "emospeech")})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = json.loads((folder / "exp" / "results.json").read_text())
    assert "cider" in results["sec_caption_acoustic/decode"]["test"]
    assert "emotion_recall" in results["random_caption"]["test"]

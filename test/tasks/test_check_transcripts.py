import pytest

from espnet2_secap.tasks.check import Findings
from espnet2_secap.tasks.check_transcripts import check_texts
from espnet2_secap.tasks.recipe import Recipe


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Two utterances of three have words in each set; the model reads them."""
    monkeypatch.chdir(tmp_path)
    for dset in ("train", "valid", "test"):
        for top in ("data", "dump/raw"):
            folder = tmp_path / top / dset
            folder.mkdir(parents=True)
            (folder / "wav.scp").write_text("".join(f"{dset}{i} x.wav\n" for i in range(3)))
            (folder / "text").write_text(f"{dset}0 one\n{dset}1\n{dset}2 two\n")
    (tmp_path / "c.yaml").write_text("model_conf: {condition: [transcript, queries]}\n")
    options = dict(train_set="train", valid_set="valid", test_sets="test", dumpdir="dump", caption_config="c.yaml")
    return Recipe(options | dict(caption_args="", sec_exp="exp/c", missing_text=""))


def problems(recipe, stages=(6, 7), **options):
    recipe.options |= options
    found = Findings()
    check_texts(recipe, stages, found)
    return found.problems


def test_each_set_that_a_stage_reads(recipe):
    train, valid, test = problems(recipe)
    assert "dump/raw/train/text: has no words for 1 (train1) of 3 utterances of the set train" in train
    assert "valid1" in valid and "test1" in test and "--missing_text skip" in valid and "skip" not in test
    assert [one.split(":")[0] for one in problems(recipe, [2, 6])] == ["data/train/text", "data/valid/text"]
    assert len(problems(recipe, [7])) == 1 and problems(recipe, [5, 8]) == problems(recipe, [1, 6, 7]) == []


def test_missing_text(recipe):
    assert problems(recipe, missing_text="empty") == []
    (test,) = problems(recipe, range(2, 8), missing_text="skip")
    assert "data/test/text" in test, "stage 2 leaves none out of a test set"
    assert len(problems(recipe, missing_text="error")) == 3


def test_files_of_a_recogniser(recipe, tmp_path):
    (tmp_path / "asr").write_text(
        "".join(f"{dset}{i} words\n" for dset in ("train", "valid", "test") for i in range(3))
    )
    assert len(problems(recipe, text_file="asr")) == 2 and problems(recipe, train_text_file="asr") == []
    assert problems(recipe, text_file="asc") == ["--text_file asc: no such file; check the path"]
    (tmp_path / "dump/raw/test/text").unlink()
    (lost,) = problems(recipe, [7], text_file="")
    assert "dump/raw/test/text: no such file, and the model reads the transcription" in lost


def test_a_model_that_reads_none(recipe, tmp_path):
    (tmp_path / "c.yaml").write_text("model: caption\n")
    assert problems(recipe) == []

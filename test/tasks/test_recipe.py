import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.recipe import WORD_END, Recipe

OPTIONS = dict(
    train_set="train", valid_set="valid", test_sets="test valid test", feats_type="extracted",
    feats_dir="dump/x", feats_scp="feats.scp", dumpdir="dump", skip_data_prep="false", skip_train="false",
    skip_align="false", skip_eval="true", pretrained_model="", align_exp="exp/a", align_model="m.pth",
    sec_exp="exp/c", sec_stats_dir="exp/s", inference_model="n.pth", upstream_path="hubert",
    align_config="none.yaml", caption_config="caption.yaml", inference_config="conf/decode.yaml",
    decode_dir="exp/c/decode", score_args="", inference_args="", folds="",
)  # fmt: skip


def recipe(**options):
    return Recipe({**OPTIONS, **options})


def test_sets_and_arguments():
    one = recipe(score_args=f"--a{WORD_END}b c")
    assert one.tests == ["test", "valid"] and one.sets == ["train", "valid", "test"]
    assert one.arguments("score_args") == ["--a", "b c"] and recipe().arguments("score_args") == []
    with pytest.raises(SecError, match="^nj=VALUE is missing; give all options of sec.sh$"):
        _ = one.nj


def test_stages_that_are_left_out():
    assert [recipe().left_out(stage) for stage in (1, 5, 6, 7, 8)] == [None] * 3 + ["--skip_eval true"] * 2
    assert recipe(feats_type="raw").left_out(3) == "--feats_type raw"
    assert recipe(skip_align="true").left_out(5) == "--skip_align true"
    assert recipe(pretrained_model="m.pth:bridge").left_out(5) == "--pretrained_model"


def test_of_folds_only_stages_2_and_3_are_noted():
    assert recipe(folds="3").folders(3).keys() == recipe().folders(3).keys() != set()
    assert all(recipe(folds="3").folders(stage) == {} for stage in (4, 5, 6, 7, 8))


def test_what_stages_read_and_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = recipe(pretrained_model="m.pth:bridge")
    assert list(one.folders(2)) == ["dump/raw/train", "dump/raw/valid", "dump/raw/test"]
    assert one.folders(3)["dump/x/test"][0] == ["dump/x/test/feats.scp"]
    assert "dump/raw/valid/text" in one.folders(6)["exp/c"][1] and "m.pth" in one.folders(6)["exp/c"][1]
    assert "exp/a/m.pth" in recipe().folders(6)["exp/c"][1]
    files, inputs = recipe().folders(7)["exp/c/decode/valid"]
    assert files == ["exp/c/decode/valid/captions"] and {"exp/c/n.pth", "conf/decode.yaml"} <= set(inputs)
    assert recipe().folders(8) == {}


def test_sets_of_other_corpora_are_test_sets_with_a_folder_of_their_own():
    one = recipe(test_sets="test", zero_shot_sets="../../other/sec1/data/male x=/y=z/data/test /a/noisy/")
    folders = ["../../other/sec1/data/male", "/y=z/data/test", "/a/noisy/"]
    assert one.zero_shot == list(zip(["male", "x", "noisy"], folders, strict=True))
    assert one.tests == ["test", "male", "x", "noisy"] and one.sets == ["train", "valid", *one.tests] == one.fed
    assert one.data_dir("test") == "data/test" and one.data_dir("x") == "/y=z/data/test"
    assert one.folders(2)["dump/raw/x"][1][0] == "/y=z/data/test/wav.scp"
    assert {"dump/x/male", "dump/x/test"} <= one.folders(3).keys() and "exp/c/decode/male" in one.folders(7)
    assert recipe().zero_shot == [] and not any("male" in path for path in one.folders(6)["exp/c"][1])


def test_the_captions_that_decoding_chooses_from_are_read_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.yaml").write_text("candidates: from/config\n")
    given = WORD_END.join(["--keep", "1", "--candidates", "from/args"])
    for options, found in (
        ({}, []),
        ({"inference_config": "d.yaml"}, ["from/config"]),
        ({"inference_config": "d.yaml", "inference_args": given}, ["from/args"]),
        ({"inference_args": given.replace("from/args", "training")}, []),
    ):
        one = recipe(**options)
        assert one.candidates() == found and set(found) <= set(one.folders(7)["exp/c/decode/test"][1])


def test_the_words_by_which_decoding_chooses_are_read_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.yaml").write_text("agreement: 1\n")
    (tmp_path / "words.json").write_text("{}")
    for words, options, found in (
        ("words.json", {}, []),
        ("words.json", {"inference_config": "d.yaml"}, ["words.json"]),
        ("words.json", {"inference_config": "d.yaml", "inference_args": f"--agreement{WORD_END}0.0"}, []),
        ("words.json", {"inference_args": f"--agreement{WORD_END}0.5"}, ["words.json"]),
        ("zh", {"inference_config": "d.yaml"}, []),  # the package's
    ):
        one = recipe(words=words, **options)
        assert one.agreed_words() == found and set(found) <= set(one.folders(7)["exp/c/decode/test"][1])


def test_a_clues_file_is_read_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "said").write_text("u []\n")
    for name, found in (("said", ["said"]), ("predicted", []), ("none", [])):
        one = recipe(inference_args=f"--clues{WORD_END}{name}")
        assert one.clues() == found and set(found) <= set(one.folders(7)["exp/c/decode/test"][1])


def test_the_weights_of_pretrained_parts_are_read_too(tmp_path, monkeypatch):
    """A new mini LM in the place of the one that a model was trained with makes the model out of date."""
    monkeypatch.chdir(tmp_path)
    for name in ("hubert", "llama"):
        (tmp_path / name).mkdir()
        for file in ("model.safetensors", "config.json", "notes.md", "training_args.bin"):
            (tmp_path / name / file).touch()
    (tmp_path / "caption.yaml").write_text("decoder_conf: {path: llama}\nbridge_conf: {init: some/hub-model}\n")
    assert recipe().folders(3)["dump/x/test"][1][2:] == ["hubert/config.json", "hubert/model.safetensors"]
    inputs = recipe().folders(6)["exp/c"][1]
    assert [path for path in inputs if "llama" in path] == ["llama/config.json", "llama/model.safetensors"]
    (tmp_path / "caption.yaml").write_text("decoder_conf: [\n")
    assert not any("llama" in path for path in recipe().folders(6)["exp/c"][1])


def test_sets_that_get_copies_and_become_features():
    names = {"train_set": "train", "valid_set": "valid", "test_sets": "test valid", "trained_set": "train_sp0.9"}
    one_split = Recipe(names | {"folds": ""})
    assert (one_split.copies, one_split.fed) == ("_sp0.9", ["train_sp0.9", "valid", "test"])
    assert Recipe(names | {"folds": "3"}).fed == ["train_sp0.9", "valid_sp0.9", "test_sp0.9"]
    none = Recipe(names | {"folds": "3", "trained_set": "train"})
    assert (none.copies, none.fed) == ("", ["train", "valid", "test"])


def test_what_the_decoder_reads(tmp_path):
    config = tmp_path / "caption.yaml"
    config.write_text("model_conf: {condition: [transcript, queries], listening: true}\n")

    def of(*words, **options):
        options = {"caption_config": str(config), "sec_exp": str(tmp_path)} | options
        return recipe(caption_args=WORD_END.join(words), **options)

    assert recipe(caption_args="").condition() == ("queries",)
    assert of().condition() == of("--max_epoch", "5").condition() == ("transcript", "queries")
    assert of("--model_conf", "condition=[text_queries, queries]").condition() == ("text_queries", "queries")
    assert of("--model_conf={condition: [transcript]}").condition() == ("transcript",)
    last = ("--model_conf", "condition=[transcript]", "--model_conf", "condition=[queries]", "--model_conf", "mixup=0")
    assert of(*last).condition() == ("queries",)
    assert of("--model_conf", "condition=[speech]").condition() == ("queries",), "sec_check tells what is wrong"
    alone = of("--model_conf", "condition=[transcript]")
    assert alone.left_out(5) == "model_conf condition [transcript]" and of().left_out(5) is None
    assert alone.condition(trained=True) == ("transcript",), "as long as nothing is trained"
    (tmp_path / "config.yaml").write_text("model_conf: {condition: [text_queries]}\n")
    assert alone.condition(trained=True) == ("text_queries",) and alone.condition() == ("transcript",)


def test_stages_that_read_transcriptions(tmp_path):
    (tmp_path / "c.yaml").write_text("model_conf: {condition: [text_queries]}\n")
    one = recipe(
        caption_config=str(tmp_path / "c.yaml"), caption_args="", sec_exp=str(tmp_path / "e"), skip_eval="false"
    )
    files = {folder: inputs for folder, (_, inputs) in one.folders(7).items()}
    assert (
        "dump/raw/test/text" in files["exp/c/decode/test"] and "dump/raw/valid/text" not in files["exp/c/decode/test"]
    )
    one.options |= {"text_file": "asr", "train_text_file": "asr_train"}
    assert all("asr" in inputs for _, inputs in one.folders(7).values())
    (inputs,) = (inputs for _, inputs in one.folders(6).values())
    assert inputs.count("asr_train") == 1 and "dump/raw/train/text" not in inputs

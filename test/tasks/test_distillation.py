"""Captioning under KD-Regularization by sec_train: what it reads, starts from and leaves behind."""

import json

import pytest
import tiny_training
import torch
import yaml
from tiny_training import CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_inference, sec_train
from espnet2_secap.tasks.clues import clues_by
from espnet2_secap.tasks.sec import SECTask

TEXT = ("text", "text", "text")
BEST = "valid.loss.best.pth"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def train(corpus, folder, llama, *options, names=(SPEECH, CAPTION, TEXT), **model_conf):
    folder.mkdir(exist_ok=True)
    conf = tiny_training.caption_conf(llama) | {"model": "distill", "model_conf": model_conf}
    sec_train.main([*command(corpus, folder / "exp", write(folder / "c.yaml", conf), list(names)), *options])
    return folder / "exp" / BEST


def test_a_model_is_trained_and_captions_without_its_teacher(corpus, tiny_llama, tmp_path):
    model_file = train(corpus, tmp_path, tiny_llama, kd_weight=2.0)
    assert {key.split(".")[0] for key in torch.load(model_file, weights_only=True)} == {"bridge", "projection"}
    config = yaml.safe_load((model_file.parent / "config.yaml").read_text())
    assert config["template_conf"]["order"] == [[1], "queries", "instruction"]
    model, _ = SECTask.build_model_from_file(None, model_file)
    assert model.teacher == ["teacher_transcript", "teacher_clues"]
    assert model.teacher_template.order == ((1,), "teacher_transcript", "teacher_clues", "instruction")
    words = ["--sec_model_file", str(model_file), "--data_dir", str(corpus), "--output_dir", str(tmp_path / "decoded")]
    lengths = dict(line.split() for line in (corpus / "shape").read_text().splitlines())
    (corpus / "utt2num_frames").write_text("".join(f"{utt} {one.split(',')[0]}\n" for utt, one in lengths.items()))
    sec_inference.main([*words, "--max_length", "6"])
    assert len((tmp_path / "decoded" / "candidates.jsonl").read_text().splitlines()) == 8


def test_the_teacher_reads_what_is_said_and_clues_of_the_caption(corpus, tiny_llama):
    """As the data comes from the files of a training set."""
    args = SECTask.get_parser().parse_args(["--model", "distill", "--decoder_conf", f"path={tiny_llama}"])
    preprocess = SECTask.build_preprocess_fn(args, True)
    caption = "语速较快，声音高亢"
    data = {"speech": torch.zeros(3, 6).numpy(), "caption": json.dumps([caption]), "text": "今天下午三点"}
    output = preprocess("u", data)
    encode = SECTask.text_functions(args)["caption"]
    assert output["teacher_transcript"].tolist() == encode("今天下午三点")
    assert output["teacher_clues"].tolist() == encode(clues_by("zh").prompt(caption))
    assert output["teacher_clues"].tolist()


def test_weight_0_trains_as_captioning_does(corpus, tiny_llama, tmp_path):
    """The same weights to the last digit: what KD changes is KD's."""
    one = train(corpus, tmp_path / "a", tiny_llama, kd_weight=0, names=(SPEECH, CAPTION))
    conf = write(tmp_path / "c.yaml", tiny_training.caption_conf(tiny_llama))
    sec_train.main(command(corpus, tmp_path / "b", conf, [SPEECH, CAPTION]))
    first, second = (torch.load(path, weights_only=True) for path in (one, tmp_path / "b" / BEST))
    assert all(torch.equal(first[key], second[key]) for key in second) and first.keys() == second.keys()


def test_without_transcriptions(corpus, tiny_llama, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(corpus, tmp_path, tiny_llama, names=(SPEECH, CAPTION))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "--model distill needs text of the train set" in line and "or set model_conf kd_weight: 0" in line
    train(corpus, tmp_path, tiny_llama, names=(SPEECH, CAPTION), teacher=["clues"])


def test_an_unknown_grammar_of_clues(corpus, tiny_llama, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(corpus, tmp_path, tiny_llama, clues_grammar="xx")
    assert "clue grammar xx: no such file or language" in capsys.readouterr().err

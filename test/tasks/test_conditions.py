"""What the decoder reads (model_conf condition), by sec_train: first stage, second stage, and what is refused."""

import json
import logging

import kaldiio
import numpy as np
import pytest
import tiny_training
import torch
import yaml
from tiny_training import ALL, CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_inference, sec_train
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.tasks.sec import SECTask

TEXT = ("text", "text", "text")
BEST = "valid.loss.best.pth"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = make_corpus(tmp_path_factory.mktemp("corpus"))
    lengths = dict(line.split() for line in (folder / "shape").read_text().splitlines())
    (folder / "utt2num_frames").write_text("".join(f"{utt} {one.split(',')[0]}\n" for utt, one in lengths.items()))
    (folder / "text").write_text("".join(f"u{i} {'今天下午' * i}三点\n" for i in range(8)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def aligned(corpus, tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    conf = write(folder / "align.yaml", tiny_training.align_conf(tiny_llama) | {"max_epoch": 1})
    sec_train.main(command(corpus, folder / "exp", conf, ALL))
    return folder / "exp" / BEST


def conf_of(llama, *condition, **more) -> dict:
    conf = tiny_training.caption_conf(llama) | {"model_conf": {"condition": list(condition)}, "max_epoch": 1}
    return conf | {"text_encoder": "embedding", "text_encoder_conf": {"path": llama, "embedding_size": 16}} | more


def train(corpus, folder, conf, *options, names=(SPEECH, CAPTION, TEXT)):
    folder.mkdir(exist_ok=True)
    sec_train.main([*command(corpus, folder / "exp", write(folder / "c.yaml", conf), list(names)), *options])
    return folder / "exp" / BEST


def failure(capsys, *args, **options) -> str:
    with pytest.raises(SystemExit):
        train(*args, **options)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def decode(model_file, corpus, output, *options) -> dict:
    words = ["--sec_model_file", str(model_file), "--data_dir", str(corpus), "--output_dir", str(output)]
    sec_inference.main([*words, "--max_length", "6", "--batch_size", "3", *options])
    rows = [json.loads(line) for line in (output / "candidates.jsonl").read_text().splitlines()]
    return {row["id"]: row["candidates"] for row in rows}


def test_the_text_branch_comes_from_the_first_stage(corpus, tiny_llama, aligned, tmp_path):
    conf = conf_of(tiny_llama, "text_queries", "queries", optim_conf={"lr": 1e-12})
    trained = train(corpus, tmp_path / "both", conf, "--init_model", str(aligned))
    first, second = (torch.load(path, weights_only=True) for path in (aligned, trained))
    shared = [key for key in second if key.startswith(("bridge.", "text_encoder."))]
    assert {key.split(".")[0] for key in second} == {"bridge", "projection", "text_encoder", "text_projection"}
    assert "text_encoder.tokens.weight" in shared
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in shared)
    config = yaml.safe_load((trained.parent / "config.yaml").read_text())
    assert config["template_conf"]["order"] == [[1], "text_queries", "queries", "instruction"]
    model, _ = SECTask.build_model_from_file(None, trained)
    assert model.condition == ("text_queries", "queries") and model.text_encoder is not None


def test_the_text_encoder_must_be_the_first_stages(corpus, tiny_llama, aligned, tmp_path, capsys):
    start = ("--init_model", str(aligned))
    wrong = conf_of(tiny_llama, "text_queries") | {"text_encoder_conf": {"path": tiny_llama, "embedding_size": 8}}
    line = failure(capsys, corpus, tmp_path / "a", wrong, *start)
    assert "its text encoder has embedding_size 16, this one 8; the T-Embedding needs the first stage's" in line
    queries = train(corpus, tmp_path / "b", conf_of(tiny_llama, "queries"), *start)
    assert "bridge.text_projection.weight" not in torch.load(queries, weights_only=True)
    line = failure(capsys, corpus, tmp_path / "c", conf_of(tiny_llama, "text_queries"), "--init_model", str(queries))
    assert "has a bridge and no text_encoder, which this model reads text through" in line


def test_a_model_that_does_not_hear_reads_no_speech(corpus, tiny_llama, aligned, tmp_path, capsys, monkeypatch):
    """Its features hold nothing but NaN, an error wherever they are read. What looks at all data of a training once,
    before it begins, is switched off."""
    deaf = tmp_path / "deaf"
    deaf.mkdir()
    for file in corpus.iterdir():
        (deaf / file.name).write_bytes(file.read_bytes())
    feats = {utt: np.full_like(one, np.nan) for utt, one in kaldiio.load_scp(str(corpus / "feats.scp")).items()}
    kaldiio.save_ark(str(deaf / "feats.ark"), feats, scp=str(deaf / "feats.scp"))
    monkeypatch.setattr("espnet2_secap.tasks.sec.check_training_data", lambda data: None)
    monkeypatch.setattr("espnet2_secap.tasks.made_from.features_digest", lambda path: ("", 8))
    start = ("--init_model", str(aligned))
    assert "speech: u" in failure(capsys, deaf, tmp_path / "hears", conf_of(tiny_llama, "queries"), *start)
    conf = conf_of(tiny_llama, "text_queries") | {"max_epoch": 2}
    trained = train(deaf, tmp_path / "exp", conf, *start)
    first, second = (torch.load(path, weights_only=True) for path in (aligned, trained))
    of_speech = [
        key for key in second if ".crossattention." in key or key.startswith(("bridge.queries", "bridge.input"))
    ]
    assert len(of_speech) > 2 and all(torch.equal(first[key], second[key]) for key in of_speech)
    assert not torch.equal(first["text_encoder.tokens.weight"], second["text_encoder.tokens.weight"])
    assert len(decode(trained, deaf, tmp_path / "out")) == 8


def test_a_frozen_lm_that_reads_the_transcript_alone_trains_nothing(corpus, tiny_llama, tmp_path, caplog, monkeypatch):
    for part in ("encoder.stored:StoredEncoder", "bridge.qformer:QFormer"):
        module, _, name = part.partition(":")
        monkeypatch.delattr(f"espnet2_secap.{module}.{name}.__init__")  # neither is built
    with caplog.at_level(logging.WARNING):
        file = train(corpus, tmp_path / "nothing", conf_of(tiny_llama, "transcript"))
    assert "this model trains nothing: its files are written without a step" in caplog.text
    assert torch.load(file, weights_only=True) == {} and (file.parent / "valid.loss.ave.pth").exists()
    train(corpus, tmp_path / "nothing", conf_of(tiny_llama, "transcript"))  # again
    one = decode(file, corpus, tmp_path / "out", "--text_file", str(corpus / "text"))
    asr = tmp_path / "asr"
    asr.write_text("".join(f"u{i} 情绪中带着愤怒{i}\n" for i in range(20)), encoding="utf-8")
    other = decode(file, corpus, tmp_path / "other", "--text_file", str(asr))
    assert one.keys() == other.keys() and one != other


def test_a_trained_lm_that_reads_the_transcript_alone(corpus, tiny_llama, tmp_path):
    conf = conf_of(tiny_llama, "transcript") | {"decoder_conf": {"path": tiny_llama, "freeze": False}}
    state = torch.load(train(corpus, tmp_path / "lm", conf), weights_only=True)
    assert {key.split(".")[0] for key in state} == {"decoder"}


def test_utterances_without_a_transcription(corpus, tiny_llama, tmp_path, capsys):
    for name in ("captions", "feats.scp", "shape", "utt2num_frames"):
        (tmp_path / name).write_bytes((corpus / name).read_bytes())
    lines = (corpus / "text").read_text(encoding="utf-8").splitlines()
    (tmp_path / "text").write_text("\n".join([lines[0], "u1", *lines[2:]]) + "\n", encoding="utf-8")
    conf = conf_of(tiny_llama, "transcript", "queries")
    line = failure(capsys, tmp_path, tmp_path / "a", conf)
    assert (
        "text: has no words for 1 (u1) of 8 utterances of the training set" in line and "--missing_text empty" in line
    )
    assert "--missing_text skip" in line
    empty = ("--missing_text", "empty")
    model = train(tmp_path, tmp_path / "a", conf, *empty)
    found = decode(model, tmp_path, tmp_path / "out", *empty)  # text of the data directory
    assert len(found) == 8
    with pytest.raises(SystemExit):
        decode(model, tmp_path, tmp_path / "other")
    assert "has no words for 1 (u1) of 8 utterances" in capsys.readouterr().err
    assert "--model caption needs text of the train set" in failure(
        capsys, corpus, tmp_path / "b", conf, names=(SPEECH, CAPTION)
    )


@pytest.mark.parametrize(
    "model_conf, message",
    [
        ({"condition": ["speech"]}, "'speech' is unknown; expected one or more of queries, transcript, text_queries"),
        ({"condition": "queries"}, "must be a list"),
        ({"condition": ["transcript"], "freeze_bridge": True}, "has no bridge that freeze_bridge could be of"),
    ],
)
def test_a_wrong_condition(corpus, tiny_llama, tmp_path, capsys, model_conf, message):
    assert message in failure(capsys, corpus, tmp_path / "a", conf_of(tiny_llama) | {"model_conf": model_conf})


def test_a_list_on_the_command_line(tiny_llama):
    args = SECTask.get_parser().parse_args(["--model_conf", "condition=[text_queries,queries]"])
    assert CaptionModel.makes_of(args.model_conf) == ("text_queries", "queries", "instruction")


def test_shuffled_audio_is_read_with_the_own_transcription(corpus, tiny_llama, tmp_path, capsys):
    """And a model that reads no speech has no such row, nor keeps one of an earlier decoding."""
    model = train(corpus, tmp_path / "both", conf_of(tiny_llama, "transcript", "queries"))
    own = decode(model, corpus, tmp_path / "out", "--shuffled_audio_dir", str(tmp_path / "shuffled"))
    rows = [json.loads(line) for line in (tmp_path / "shuffled" / "candidates.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {row["audio"] for row in rows} == own.keys()
    assert all(row["id"] != row["audio"] and "shuffled" not in row for row in rows)
    speech2caption, utterances = Speech2Caption(model, max_length=6), Utterances(corpus)
    said = dict(line.split(" ", 1) for line in (corpus / "text").read_text(encoding="utf-8").splitlines())
    for row in rows[:3]:
        ((text, score),) = speech2caption.caption_inputs([utterances.read(row["audio"])], [said[row["id"]]])[0]
        assert row["candidates"][0]["text"] == text and row["candidates"][0]["score"] == pytest.approx(score, abs=1e-4)
    text_alone = train(corpus, tmp_path / "text", conf_of(tiny_llama, "transcript"))
    decode(text_alone, corpus, tmp_path / "alone", "--shuffled_audio_dir", str(tmp_path / "shuffled"))
    assert "the model reads no speech (condition transcript): no row of shuffled audio" in capsys.readouterr().out
    assert not list((tmp_path / "shuffled").glob("*"))


@pytest.mark.parametrize("condition", [["transcript", "queries"], ["text_queries"]], ids="-".join)
def test_captions_of_the_training_set_are_weighted_under_every_condition(
    corpus, tiny_llama, tmp_path, condition, capsys
):
    model = train(corpus, tmp_path / "a", conf_of(tiny_llama, *condition))
    options = ["--candidates", "training", "--keep", "1", "--posterior_prior", "3"]
    found = decode(model, corpus, tmp_path / "out", *options)
    assert all(
        len(rows) == 2 and sum(row["probability"] for row in rows) == pytest.approx(1, abs=1e-4)
        for rows in found.values()
    )
    neighbours = [*options, "--posterior_neighbours", "0.5"]
    if "queries" in condition:
        assert decode(model, corpus, tmp_path / "near", *neighbours).keys() == found.keys()
        return
    with pytest.raises(SystemExit):
        decode(model, corpus, tmp_path / "near", *neighbours)
    assert "--posterior_neighbours 0.5: compares speech, which this model does not take" in capsys.readouterr().err


def test_clues_of_another_language_are_told_before_training(corpus, tiny_llama, tmp_path, capsys):
    conf = conf_of(tiny_llama, "queries", "clues")
    for given, message in [
        (
            {"clues_grammar": "en", "clues_words": "none"},
            "captions: no caption has a clue by model_conf clues_grammar: en",
        ),
        ({"clues_grammar": "fr"}, "clue grammar fr: no such file or language; give a JSON file or one of: en, ja, zh"),
        ({"clues_words": "nowhere.json"}, "nowhere.json: no such words file"),
        ({"clues_dropout": 2}, "clues_dropout 2: must be between 0 and 1"),
    ]:
        wrong = conf | {"model_conf": conf["model_conf"] | given}
        line = failure(capsys, corpus, tmp_path / "a", wrong, names=(SPEECH, CAPTION))
        assert message in line
    deaf = conf | {"model_conf": {"clues_dropout": 0.5}}
    line = failure(capsys, corpus, tmp_path / "b", deaf, names=(SPEECH, CAPTION))
    assert "clues_dropout: the decoder reads no clues (condition queries)" in line


def test_a_clues_file_of_the_training(corpus, tiny_llama, tmp_path, capsys):
    conf, files = conf_of(tiny_llama, "queries", "clues"), (SPEECH, CAPTION, ("clues", "clues", "text"))
    folder = tmp_path / "data"
    folder.mkdir()
    for file in corpus.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "clues").write_text("".join(f"u{i} []\n" for i in range(7)))
    assert "clues: has no line for u7 of the training set" in failure(capsys, folder, tmp_path / "a", conf, names=files)
    (folder / "clues").write_text("".join(f"u{i} 愤怒\n" for i in range(8)), encoding="utf-8")
    assert "clues:1: u0: is not JSON" in failure(capsys, folder, tmp_path / "a", conf, names=files)
    (folder / "clues").write_text("".join(f"u{i} []\n" for i in range(8)))
    model = train(folder, tmp_path / "a", conf, names=files)
    assert yaml.safe_load((model.parent / "config.yaml").read_text())["template_conf"]["order"][-2:] == [
        "clues",
        "instruction",
    ]


def test_teacher_and_student_read_clues(corpus, tiny_llama, tmp_path):
    conf = conf_of(tiny_llama, "queries", "clues") | {"model": "distill"}
    conf["model_conf"] |= {"teacher": ["transcript", "clues"], "clues_dropout": 0.5}
    model = train(corpus, tmp_path, conf)
    assert {key.split(".")[0] for key in torch.load(model, weights_only=True)} == {"bridge", "projection"}

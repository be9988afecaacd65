import json
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import torch
import yaml
from tiny_decoding import name_data
from tiny_training import CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_inference, sec_train
from espnet2_secap.data.io import read_captions
from espnet2_secap.decoder.options import ClueOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.clues import CluePlan, Predicted, Retrieved, check_not_references
from espnet2_secap.inference.nearest import Neighbours
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.model.attributes import AttributeHead
from espnet2_secap.tasks.clues import clues_by

CAPTIONS = {0: ["语速较慢，语气平静", "说话人心情平静"], 1: ["语速很快，声音响亮，流露出愤怒", "说得生气"]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = make_corpus(tmp_path_factory.mktemp("corpus"))
    lines = [f"u{i} {json.dumps(CAPTIONS[i % 2], ensure_ascii=False)}\n" for i in range(8)]
    (folder / "captions").write_text("".join(lines), encoding="utf-8")
    lengths = (line.replace(",", " ").split() for line in (folder / "shape").read_text().splitlines())
    (folder / "utt2num_frames").write_text("".join(f"{utt} {length}\n" for utt, length, _ in lengths))
    return folder


@pytest.fixture(scope="module")
def model(corpus, tiny_llama, tmp_path_factory):
    """Trained on the corpus with clues and a head that predicts them."""
    folder = tmp_path_factory.mktemp("exp")
    conf = tiny_training.caption_conf(tiny_llama) | {"max_epoch": 30, "optim_conf": {"lr": 3e-3}}
    conf["model_conf"] = {"condition": ["queries", "clues"], "attributes_weight": 1.0, "clues_dropout": 0.3}
    sec_train.main(command(corpus, folder / "exp", write(folder / "c.yaml", conf), [SPEECH, CAPTION]))
    return folder / "exp" / "valid.loss.best.pth"


@pytest.fixture(scope="module")
def test_set(corpus, tmp_path_factory):
    """The features of the corpus under other ids, with references."""
    folder = tmp_path_factory.mktemp("test")
    for name in ("feats.scp", "captions", "utt2num_frames"):
        (folder / name).write_text((corpus / name).read_text(encoding="utf-8").replace("u", "t", 8), encoding="utf-8")
    lines = (corpus / "feats.scp").read_text().splitlines()
    (folder / "feats.scp").write_text("".join(f"t{line[1:]}\n" for line in lines))
    for name in ("captions", "utt2num_frames"):
        lines = (corpus / name).read_text(encoding="utf-8").splitlines()
        (folder / name).write_text("".join(f"t{line[1:]}\n" for line in lines), encoding="utf-8")
    return folder


def decode(model, data, output, *options) -> tuple[dict, list[dict]]:
    files = ["--sec_model_file", str(model), "--data_dir", str(data), "--output_dir", str(output)]
    sec_inference.main([*files, "--max_length", "6", "--batch_size", "3", *options])
    rows = [json.loads(line) for line in (output / "candidates.jsonl").read_text(encoding="utf-8").splitlines()]
    return rows[0].pop("header"), rows


def refused(capsys, *args) -> str:
    with pytest.raises(SystemExit):
        decode(*args)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


@pytest.mark.slow(40)
def test_every_source_of_clues(model, test_set, tmp_path):
    """End to end: trained with clues, decoded with each."""
    header, rows = decode(model, test_set, tmp_path / "none")
    assert header["clues"] is None and header["condition"] == ["queries", "clues"] and "clues" not in rows[0]
    none = [row["candidates"] for row in rows]
    _, predicted = decode(model, test_set, tmp_path / "p", "--clues", "predicted", "--clues_confidence", "0")
    usual = yaml.safe_load((model.parent / "config.yaml").read_text(encoding="utf-8"))["clue_words"]
    assert usual["rate"] == {"fast": "语速很快", "slow": "语速较慢"} and usual["volume"] == {"loud": "声音响亮"}
    known = {word for words in usual.values() for word in words.values()}
    assert all(set(usual["emotion"].values()) & set(row["clues"]) and set(row["clues"]) <= known for row in predicted)
    _, retrieved = decode(model, test_set, tmp_path / "r", "--clues", "retrieved", "--clues_neighbours", "1")
    for at, row in enumerate(retrieved):  # the nearest is the same recording under its other id
        word = {0: "平静", 1: "愤怒"}[at % 2]
        assert word in row["clues"] or "生气" in row["clues"], row
    header, oracle = decode(model, test_set, tmp_path / "o", "--clues", "oracle")
    assert header["clues"] == "oracle"
    assert [row["clues"] for row in oracle] == [["语速较慢", "平静"], ["语速很快", "声音响亮", "愤怒"]] * 4
    wrong = tmp_path / "clues"
    wrong.write_text("".join(f't{i} ["害怕"]\n' for i in range(8)), encoding="utf-8")
    header, of_file = decode(model, test_set, tmp_path / "f", "--clues", str(wrong))
    assert header["clues"] == str(wrong) and all(row["clues"] == ["害怕"] for row in of_file)
    for rows in (predicted, retrieved, oracle, of_file):
        assert [row["candidates"] for row in rows] != none, "clues have an effect"


@pytest.mark.slow(40)
def test_references_have_no_say_but_by_oracle(model, test_set, tmp_path, capsys):
    """Other references, or none: the same captions, clues and record; and the ways by which they could get in."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("feats.scp", "utt2num_frames"):
        (other / name).write_bytes((test_set / name).read_bytes())
    for source in ("none", "predicted", "retrieved"):
        options = ("--clues", source)
        decode(model, test_set, tmp_path / f"a_{source}", *options)
        decode(model, other, tmp_path / f"b_{source}", *options)
        found = [(tmp_path / f"{one}_{source}" / "candidates.jsonl").read_bytes() for one in "ab"]
        fingerprints = [json.loads(one.split(b"\n")[0])["header"].pop("fingerprint") for one in found]
        assert found[0] == found[1].replace(fingerprints[1].encode(), fingerprints[0].encode()), source
    (other / "captions").write_text("".join(f't{i} ["害怕"]\n' for i in range(8)), encoding="utf-8")
    _, rows = decode(model, other, tmp_path / "c", "--clues", "oracle")
    assert all(row["clues"] == ["害怕"] for row in rows), "oracle: the other references"
    # The captions file itself, clues made from it in another order, and from a folder of features without captions
    leak = tmp_path / "leak"
    find = clues_by("zh")
    captions = read_captions(test_set / "captions")
    lines = [f"{utt} {json.dumps(find.texts(one[-1])[::-1], ensure_ascii=False)}\n" for utt, one in captions.items()]
    leak.write_text("".join(lines), encoding="utf-8")
    for file in (test_set / "captions", leak):
        line = refused(capsys, model, test_set, tmp_path / "d", "--clues", str(file))
        assert "holds the clues of the references in" in line and "give --clues oracle" in line
    (other / "captions").unlink()
    references = ("--references", str(test_set / "captions"))
    assert "8 of 8 utterances" in refused(capsys, model, other, tmp_path / "d", "--clues", str(leak), *references)
    assert not (tmp_path / "d" / "captions").exists()


@pytest.mark.slow(30)
def test_what_is_wrong_is_told_before_the_model_is_loaded(model, test_set, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("espnet2_secap.inference.decode.Speech2Caption", None)
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("feats.scp", "utt2num_frames"):
        (alone / name).write_bytes((test_set / name).read_bytes())
    few = tmp_path / "few"
    few.write_text('t0 ["平静"]\nt1 []\n', encoding="utf-8")
    short = tmp_path / "short"
    short.write_text('t0 ["平静"]\nt1 ["平静"]\n', encoding="utf-8")
    bad = tmp_path / "bad"
    bad.write_text("t0 平静\n", encoding="utf-8")
    for name, options, message in [
        ("oracle", (), "--clues oracle: the set has no captions; give --references FILE"),
        ("oracle", ("--references", str(short)), "short has no line for t2, t3, t4, ... (6 of 8 utterances)"),
        ("oracel", (), "--clues oracel: no such file; give one of none, predicted, retrieved, oracle"),
        (str(few), (), "has no line for t2, t3, t4, ... (6 of 8 utterances); add them, with [] where there are no"),
        (str(bad), (), "bad:1: t0: is not JSON"),
    ]:
        assert message in refused(capsys, model, alone, tmp_path / "x", "--clues", name, *options)

    def with_conf(**model_conf):
        folder = tmp_path / "exp"
        folder.mkdir(exist_ok=True)
        conf = yaml.safe_load((model.parent / "config.yaml").read_text(encoding="utf-8"))
        conf["model_conf"] |= model_conf
        (folder / "config.yaml").write_text(yaml.safe_dump(conf), encoding="utf-8")
        (folder / model.name).write_bytes(model.read_bytes())
        return folder / model.name

    for name, conf, message in [
        ("predicted", {"attributes_weight": 0}, "no head that predicts them (model_conf attributes_weight is 0"),
        ("predicted", {"condition": ["queries"]}, "the model reads no clues (condition queries); leave it out"),
        ("retrieved", {"condition": ["clues"]}, "comes from the speech, which the model does not read"),
        ("predicted", {"clues_grammar": "fr"}, "clue grammar fr: no such file or language"),
    ]:
        assert message in refused(capsys, with_conf(**conf), alone, tmp_path / "x", "--clues", name)
    changed = with_conf()
    name_data(changed.parent, [])
    assert "names no speech of the training" in refused(capsys, changed, alone, tmp_path / "x", "--clues", "retrieved")


@pytest.mark.slow(20)
def test_shuffled_audio_keeps_clues_that_are_the_utterances_own(model, test_set, tmp_path):
    for source in ("predicted", "oracle"):
        out, shuffled = tmp_path / source, tmp_path / f"{source}_shuffled"
        _, rows = decode(model, test_set, out, "--clues", source, "--shuffled_audio_dir", str(shuffled))
        lines = (shuffled / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
        others = [json.loads(line) for line in lines]
        assert all(one["id"] != one["audio"] for one in others)
        by_id = {row["id"]: row["clues"] for row in rows}
        assert all(one["clues"] == by_id[one["id" if source == "oracle" else "audio"]] for one in others)


@pytest.mark.slow(20)
def test_speech2caption(model, test_set):
    speech = [torch.randn(9, 6), torch.randn(5, 6)]
    plain = Speech2Caption(model, max_length=6)
    assert plain.reads_clues and plain.caption_inputs(speech) == plain.caption_inputs(speech, None, [[], []])
    given = plain.caption_inputs(speech, None, ["愤怒，语速快", "愤怒，语速快"])
    assert given == plain.caption_inputs(speech, None, [["愤怒", "语速快"]] * 2) != plain.caption_inputs(speech)
    assert given == Speech2Caption(model, max_length=6, clues="愤怒，语速快").caption_inputs(speech)
    asked = Speech2Caption(model, max_length=6, clues="retrieved")
    assert asked.caption_inputs(speech) != [] and asked.mean_embedding(speech).shape == (2, 16)
    with pytest.raises(SecError, match="must be 2 list"):
        plain.caption_inputs(speech, None, [["愤怒"]])
    with pytest.raises(SecError, match="--clues oracle: recordings have no references"):
        Speech2Caption(model, clues="oracle")
    with pytest.raises(SecError, match="is a file; of recordings give their clues"):
        Speech2Caption(model, clues=str(test_set / "captions"))


def test_a_model_without_clues_takes_none(tiny_llama, tmp_path):
    conf = {"encoder": "stored", "encoder_conf": {"input_size": 6}}
    file = tiny_training.random_model(tmp_path, conf, tiny_llama)
    with pytest.raises(SecError, match="clues: are given, and the model reads none"):
        Speech2Caption(file).caption_inputs([torch.randn(9, 6)], None, [["愤怒"]])
    with pytest.raises(SecError, match="--clues predicted: the model reads no clues"):
        Speech2Caption(file, clues="predicted")
    assert CluePlan(ClueOptions(), tmp_path / "config.yaml").name is None


def test_clues_of_predicted_categories():
    head = AttributeHead({"emotion": {"angry": 1, "calm": 1}, "emotion_quadrant": {"a": 1, "b": 1}}, 2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]]))
        head.linear.bias.zero_()
    embedding = torch.tensor([[1.0, 0.0], [0.0, 0.2]])
    assert head.predict(embedding)[0]["emotion"] == ("angry", pytest.approx(np.exp(2) / (np.exp(2) + 1), abs=1e-6))
    source = Predicted(head, clues_by("zh"), "zh", 0.0)
    assert source(["a", "b"], ["a", "b"], embedding) == [["愤怒"], ["平静"]]
    assert Predicted(head, clues_by("zh"), "zh", 0.7)(["a", "b"], [], embedding) == [["愤怒"], []]
    usual = clues_by("zh", usual={"emotion": {"angry": "生气"}})
    assert Predicted(head, usual, "zh", 0.0)(["a", "b"], [], embedding) == [["生气"], ["平静"]]
    head.attributes[0] = "rate"
    head.categories[0] = ["fast", "slow"]
    assert Predicted(head, clues_by("en"), "en", 0.0)(["a", "b"], [], embedding) == [["fast"], ["slow"]]


def test_neighbours_vote_by_attribute():
    captions = {"a": ["愤怒，语速快"], "b": ["生气，语速快"], "c": ["愤怒，流畅"], "d": ["平静，流畅"], "e": ["悲伤"]}
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [-5.0, 0.0]])
    near = Neighbours(captions, list(captions), vectors, 4)
    near_all = torch.tensor([[1.0, 0.0]])
    (weights,) = near.weights(near_all.numpy())
    shares = dict(zip(near.texts, weights, strict=True))
    (found,) = Retrieved(near, clues_by("zh"), 0.0)(["x"], ["x"], near_all)
    assert shares["悲伤"] == 0 and found == ["愤怒", "语速快", "流畅"]  # 愤怒 and 生气 are one category
    angry = sum(shares[one] for one in shares if "愤怒" in one or "生气" in one)
    (found,) = Retrieved(near, clues_by("zh"), angry - 1e-6)(["x"], ["x"], near_all)
    assert found == ["愤怒"]
    alone = Retrieved(Neighbours(captions, list(captions), vectors, 1), clues_by("zh"), 0.0)
    (found,) = alone(["e"], ["e"], torch.tensor([[-5.0, 0.0]]))
    assert "悲伤" not in found, "no utterance is its own neighbour"


def test_a_file_of_clues_is_compared_with_the_references(capsys):
    find = clues_by("zh")
    captions = {f"u{i}": ["语速很快，流露出愤怒", "生气"] for i in range(40)}

    def check(table):
        check_not_references("f", table, captions, find, "captions")

    for clues in (["愤怒", "语速很快"], ["生气"], ["生气", "愤怒", "语速很快"], ["x语速很快，流露出愤怒"]):
        with pytest.raises(SecError, match="holds the clues of the references in captions .*40 of 40 utterances"):
            check(dict.fromkeys(captions, clues))
    check(dict.fromkeys(captions, ["愤怒"]))  # what another system might say of each
    check(dict.fromkeys(captions, []))
    table = {utt: ["生气"] if i < 37 else ["平静"] for i, utt in enumerate(captions)}
    assert not capsys.readouterr().out
    check(table)  # 92.5 %
    assert (
        "note: --clues f: 37 of 40 utterances (u0, u1, u2, ...) have just the clues of captions"
        in capsys.readouterr().out
    )
    with pytest.raises(SecError, match="38 of 40"):
        check(table | {"u39": ["生气"]})
    with pytest.raises(SecError, match="37 of 37"):
        check({utt: clues if clues == ["生气"] else [] for utt, clues in table.items()})


def test_nothing_else_of_decoding_reads_references():
    """The guard stands at one place: no other file of decoding reads captions of the set that is decoded."""
    folder = Path(__file__).parents[2] / "espnet2_secap" / "inference"
    named = {path.name for path in folder.glob("*.py") if "references" in path.read_text(encoding="utf-8")}
    assert {"clues.py", "decode.py"} <= named
    text = (folder / "decode.py").read_text(encoding="utf-8")
    assert text.count('"captions"') == 1 and "read_captions" not in text

"""Stage 1 of egs2/mini_emospeech, where it is asked for: the mini model of speech emotion recognition."""

import random
import subprocess

import pytest
import torch
import yaml
from tiny_corpus import RECIPE, TINY

from espnet2_secap.data.io import read_kaldi, write_kaldi

SER = {"classifier_proj_size": 8, "steps": 2, "batch_seconds": 4.0, "threads": 2}


def make(local, name, train_set, output, config, *more):
    options = ["--train_set", train_set, "--output", output, "--config", config, *more]
    local(f"pretrain_{name}").main([str(option) for option in options])


@pytest.fixture(scope="module")
def folder(corpus, local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "ser": SER}))
    make(local, "hubert", corpus / "train", folder / "hubert", folder / "tiny.yaml")
    make(local, "ser", corpus / "train", folder / "ser", folder / "tiny.yaml", "--hubert", folder / "hubert")
    return folder


def test_it_classifies_as_any_other(folder, corpus, local):
    from espnet2_secap.inference.classify import SpeechClassifier

    model = SpeechClassifier(str(folder / "ser"))
    assert model.labels == sorted(set(read_kaldi(corpus / "train" / "utt2emo").values())) and model.fs == 16000
    found = dict(model.classify(read_kaldi(corpus / "test" / "wav.scp")))
    assert len(found) == 12 and all(values.sum() == pytest.approx(1, abs=1e-5) for values in found.values())
    samples = torch.randn(2, 9000) * 0.1
    with torch.no_grad():
        wanted = model.model(samples).logits
        assert torch.allclose(local("pretrain_ser").classify(model.model, samples), wanted, atol=1e-5)


def test_it_is_the_same_each_time_and_kept(folder, corpus, local, tmp_path, capsys):
    labels, train_set = read_kaldi(corpus / "train" / "utt2emo"), tmp_path / "train"
    train_set.mkdir()
    (train_set / "wav.scp").write_bytes((corpus / "train" / "wav.scp").read_bytes())
    write_kaldi(train_set / "utt2emo", labels)
    more = (tmp_path / "ser", folder / "tiny.yaml", "--hubert", folder / "hubert")
    weights = [(folder / "ser" / "model.safetensors").read_bytes()]
    for _ in range(2):
        make(local, "ser", train_set, *more)
        assert (tmp_path / "ser" / "model.safetensors").read_bytes() == weights[0]
    assert capsys.readouterr().out.count("ser: is there already") == 1
    write_kaldi(train_set / "utt2emo", {utt_id: "odd" if label == "sad" else label for utt_id, label in labels.items()})
    make(local, "ser", train_set, *more)
    assert "odd" in (tmp_path / "ser" / "config.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ser", "train"]  # nothing half-made


def test_it_learns_what_is_loud(local):
    """Labels that a tone's level gives: the training set is recognised."""
    ser, hubert = local("pretrain_ser"), local("pretrain_hubert")
    sizes = hubert.HubertConfig(
        conv_dim=(16, 8), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    import transformers

    torch.manual_seed(0)
    model = transformers.HubertForSequenceClassification(hubert.build(sizes).config).train()
    model.hubert = hubert.build(sizes)
    classes = [number % 2 for number in range(16)]
    waves = [(torch.randn(8000) * (200, 6000)[number]).to(torch.int16) for number in classes]
    config = ser.SerConf(steps=30, batch_seconds=4.0, lr=1e-2, threads=1)
    model.freeze_feature_encoder()
    before = model.hubert.feature_extractor.conv_layers[1].conv.weight.clone()
    ser.train(model, waves, classes, config, random.Random(0))
    with torch.no_grad():
        found = model.eval()(ser.as_float(torch.stack(waves))).logits.argmax(1)
    assert found.tolist() == classes
    assert torch.equal(model.hubert.feature_extractor.conv_layers[1].conv.weight, before)


def test_batches_keep_the_classes_of_their_utterances(local):
    ser = local("pretrain_ser")
    waves = [torch.full((length,), i + 1, dtype=torch.int16) for i, length in enumerate((900, 20000, 21000, 60000))]
    config = ser.SerConf(batch_seconds=2.0, crop_seconds=1.5)
    for seed in range(20):
        samples, classes = ser.draw(waves, [0, 1, 2, 3], config, random.Random(seed))
        assert torch.equal((samples[:, 0] * 32768).round().long() - 1, classes)
        assert samples.shape[1] <= 24000 and torch.equal(samples, samples[:, :1].expand_as(samples))


def test_what_is_wrong_is_one_line(folder, corpus, local, tmp_path, capsys):
    (tmp_path / "wav.scp").write_bytes((corpus / "train" / "wav.scp").read_bytes())
    first, *others = read_kaldi(corpus / "train" / "utt2emo").items()
    write_kaldi(tmp_path / "utt2emo", dict(others))
    for hubert, said in ((folder / "hubert", f"has no label for {first[0]}"), (tmp_path / "none", "no such folder")):
        with pytest.raises(SystemExit):
            make(local, "ser", tmp_path, tmp_path / "ser", folder / "tiny.yaml", "--hubert", hubert)
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1 and not (tmp_path / "ser").exists()


@pytest.mark.slow(15)
def test_pretrain_sh_makes_it_where_it_is_asked_for(folder, corpus, tmp_path):
    options = ["--train_set", corpus / "train", "--output", tmp_path, "--pretrain_config", folder / "tiny.yaml"]
    command = ["local/pretrain.sh", *map(str, options), "--ser", "true"]
    done = subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hubert", "llama", "ser"]

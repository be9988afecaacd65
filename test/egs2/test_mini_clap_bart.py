"""The mini CLAP, BART and sentence encoder of mini_emospeech: ordinary folders that learn from the training set."""

import random

import pytest
import torch
import yaml
from tiny_corpus import RECIPE

from espnet2_secap.data.io import read_captions

TINY = {
    "clap": {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "projection_dim": 16,
        "batch_size": 8,
        "steps": 2,
    },
    "bart": {"d_model": 32, "ffn_dim": 64, "layers": 1, "attention_heads": 2, "steps": 2, "batch_size": 8},
    "text_encoder": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "steps": 2, "batch_size": 8},
}


@pytest.fixture(scope="module")
def parts(corpus, local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for name in TINY:
        make(local, name, corpus, folder / name, folder / "tiny.yaml")
    return folder


def make(local, name, corpus, output, config, *more):
    options = ["--train_set", corpus / "train", "--output", output, "--config", config, *more]
    local(f"pretrain_{name}").main([str(option) for option in options])


def test_clap_is_read_as_any_other(parts):
    from espnet2_secap.encoder.clap import ClapEncoder

    encoder = ClapEncoder(str(parts / "clap"))
    feats, lengths = encoder(torch.randn(2, 32000) / 10, torch.tensor([32000, 20000]))
    assert feats.shape == (2, 8, 64) and encoder.sampling_rate == 16000 and lengths.tolist() == [8, 8]
    assert feats.isfinite().all() and not torch.allclose(feats[0], feats[1])


def test_bart_is_read_as_any_other(parts, corpus):
    from transformers import AutoTokenizer

    from espnet2_secap.decoder.seq2seq import Seq2SeqDecoder

    decoder = Seq2SeqDecoder(str(parts / "bart"))
    tokenizer = AutoTokenizer.from_pretrained(parts / "bart")
    caption = next(iter(read_captions(corpus / "train" / "captions").values()))[0]
    ids = tokenizer(caption)["input_ids"]
    assert len(ids) == len(caption) + 2 and tokenizer.unk_token_id not in ids
    assert decoder.start == ids[-1] and decoder.forced == (ids[0],)  # </s> <s>, as BART


def test_captions_of_one_utterance_become_alike(parts, local):
    """Two kinds of captions in different words: after training, those of a kind are nearer, as SIM1 reads them."""
    encoder = local("pretrain_text_encoder")
    config = encoder.TextEncoderConfig(
        **{**TINY["text_encoder"], "steps": 60, "lr": 1e-2, "batch_size": 2, "threads": 1}
    )
    captions = [[[5, 6, 7], [8, 9]], [[10, 11], [12, 13, 14]]]
    torch.manual_seed(0)
    model = encoder.train(captions, 20, config, random.Random(0))

    def embed(ids):
        return model(input_ids=torch.tensor([ids])).last_hidden_state.mean(1)[0]

    alike = torch.cosine_similarity(embed([5, 6, 7]), embed([8, 9]), dim=0)
    other = torch.cosine_similarity(embed([5, 6, 7]), embed([12, 13, 14]), dim=0)
    assert alike > other + 0.5
    from espnet2_secap.text.sentence import SentenceEncoder

    assert SentenceEncoder(str(parts / "text_encoder"), "cpu")(["语速较快", "情绪"]).shape == (2, 32)


@pytest.mark.parametrize("name", sorted(TINY))
def test_parts_are_the_same_each_time_and_kept(parts, corpus, local, name, tmp_path, capsys):
    make(local, name, corpus, tmp_path / name, parts / "tiny.yaml")
    weights = (tmp_path / name / "model.safetensors").read_bytes()
    assert weights == (parts / name / "model.safetensors").read_bytes()
    capsys.readouterr()
    make(local, name, corpus, tmp_path / name, parts / "tiny.yaml")
    assert "kept" in capsys.readouterr().out
    make(local, name, corpus, tmp_path / name, parts / "tiny.yaml", "--seed", "1")
    assert (tmp_path / name / "model.safetensors").read_bytes() != weights
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing half-made


def test_clap_learns_which_caption_is_whose(local):
    """Two kinds of spectrograms with a caption each: the loss falls below that of a guess, log(2) of a batch of two."""
    clap = local("pretrain_clap")
    config = clap.ClapConfig(**{**TINY["clap"], "steps": 40, "batch_size": 2, "lr": 1e-2, "threads": 1})
    mels = torch.randn(2, 1, 251, 64) * 10 - 60
    mels[0, :, :, :32] += 40
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: told.append(" ".join(map(str, words))))
        torch.manual_seed(0)
        clap.train(mels, [["大声"], ["小的"]], config, random.Random(0))
    assert float(told[-1].split("loss ")[1].split()[0]) < 0.35


def test_bart_learns_to_write_captions(local):
    bart = local("pretrain_bart")
    config = bart.BartConf(**{**TINY["bart"], "steps": 120, "lr": 1e-2, "hint_noise": 0.1})
    captions = [[[5, 6, 7]], [[8, 9]], [[10, 11, 12, 13]]]
    torch.manual_seed(0)
    model = bart.train(captions, 20, config, random.Random(0))
    hints = model.get_input_embeddings()(torch.tensor([[9, 8]]))
    begin = torch.tensor([[bart.SEP, bart.CLS]])
    written = model.generate(inputs_embeds=hints, decoder_input_ids=begin, max_length=8, num_beams=1)
    assert written[0].tolist()[:5] == [bart.SEP, bart.CLS, 8, 9, bart.SEP]


@pytest.mark.parametrize("name", sorted(TINY))
def test_unknown_key_is_named(local, corpus, name, tmp_path, capsys):
    (tmp_path / "typo.yaml").write_text(f"{name}: {{step: 1}}\n")
    with pytest.raises(SystemExit):
        make(local, name, corpus, tmp_path / name, tmp_path / "typo.yaml")
    assert f"{tmp_path / 'typo.yaml'}: {name}: unknown key 'step'" in capsys.readouterr().err


def test_parts_are_made_where_they_are_asked_for():
    text = (RECIPE / "local" / "data.sh").read_text(encoding="utf-8")
    assert all(f"\nmini_{name}=false" in text for name in TINY)

"""Stage 1 of egs2/mini_emospeech: the mini HuBERT and LLaMA that are trained on the corpus."""

import json
import random
import subprocess
import sys

import pytest
import soundfile as sf
import soxr
import torch
import yaml
from tiny_corpus import RECIPE, TINY

from espnet2_secap.data.io import read_captions, read_kaldi, write_captions, write_kaldi


@pytest.fixture(scope="module")
def parts(corpus, local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for name in ("hubert", "llm"):
        make(local, name, corpus / "train", folder / name, folder / "tiny.yaml")
    return folder


def make(local, name, train_set, output, config, *more):
    options = ["--train_set", train_set, "--output", output, "--config", config, *more]
    local(f"pretrain_{name}").main([str(option) for option in options])


def test_hubert_loads_as_any_other(parts, corpus):
    from transformers import AutoFeatureExtractor, AutoModel, HubertModel

    model = AutoModel.from_pretrained(parts / "hubert").eval()
    assert isinstance(model, HubertModel) and model.config.conv_bias
    assert model.config.feat_extract_norm == "layer" and model.config.do_stable_layer_norm
    assert AutoFeatureExtractor.from_pretrained(parts / "hubert").do_normalize is False
    samples, _ = sf.read(next(iter(read_kaldi(corpus / "test" / "wav.scp").values())), dtype="float32")
    with torch.no_grad():
        output = model(torch.from_numpy(samples)[None]).last_hidden_state
    assert output.shape == (1, (len(samples) - 400) // 320 + 1, 16) and output.isfinite().all()


def test_llama_loads_as_any_other(parts, corpus):
    import sentencepiece
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    model = AutoModelForCausalLM.from_pretrained(parts / "llm")
    assert isinstance(model, LlamaForCausalLM)
    sp = sentencepiece.SentencePieceProcessor(model_file=str(parts / "llm" / "tokenizer.model"))
    assert (sp.unk_id(), sp.bos_id(), sp.eos_id()) == (0, 1, 2) == (0, model.config.bos_token_id, 2)
    assert sp.vocab_size() == model.config.vocab_size and not (parts / "llm" / "tokenizer.json").exists()
    caption = "语速较快，声音高亢，鬱 and ASCII"  # 鬱 is in no caption: bytes
    assert sp.decode(sp.encode(caption)) == caption and sp.unk_id() not in sp.encode(caption)
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([[1, *sp.encode(caption)]])).logits
    assert loss.isfinite().all()


def test_a_llama_that_is_there_is_found_without_torch(parts, corpus):
    """Each fold of a cross-validation asks for its own whenever it is run."""
    program = "import sys; sys.path.insert(0, 'local'); import pretrain_llm; pretrain_llm.main()"
    program += "; assert 'torch' not in sys.modules"
    options = ["--train_set", corpus / "train", "--output", parts / "llm", "--config", parts / "tiny.yaml"]
    done = subprocess.run([sys.executable, "-c", program, *options], cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0 and "kept" in done.stdout, done.stderr


def fold_of(recipe, corpus):
    """A recipe's folder with a fold in it, as far as local/fold.sh is concerned."""
    fold = recipe / "folds/3/1"
    (fold / "dump/raw").mkdir(parents=True)
    (fold / "pretrained").mkdir()
    (fold / "dump/raw/train").symlink_to(corpus / "test")
    (fold / "pretrained/llama").symlink_to("../../../../pretrained/llama")
    for name in ("local", "path.sh"):
        (fold / name).symlink_to(RECIPE / name)
    return fold


def test_the_llama_of_a_fold_is_like_the_recipes(parts, corpus, tmp_path):
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained/llama").symlink_to(parts / "llm")
    fold = fold_of(tmp_path, corpus)
    subprocess.run(["local/fold.sh"], cwd=fold, check=True)
    own, of_recipe = (
        json.loads((folder / "pretrain.json").read_text()) for folder in (fold / "pretrained/llama", parts / "llm")
    )
    assert not (fold / "pretrained/llama").is_symlink()
    assert own["config"] == of_recipe["config"] and own["config"]["steps"] == TINY["llm"]["steps"]
    assert own["sources"] != of_recipe["sources"]


def test_a_fold_keeps_an_lm_of_other_origin(corpus, tmp_path):
    (tmp_path / "pretrained/llama").mkdir(parents=True)
    (tmp_path / "pretrained/llama/config.json").write_text("{}")
    fold = fold_of(tmp_path, corpus)
    subprocess.run(["local/fold.sh"], cwd=fold, check=True)
    assert (fold / "pretrained/llama").is_symlink()


@pytest.mark.parametrize("name", ["hubert", "llm"])
@pytest.mark.slow(5)
def test_parts_are_the_same_each_time_and_kept(parts, corpus, local, name, tmp_path, capsys):
    make(local, name, corpus / "train", tmp_path / name, parts / "tiny.yaml")
    weights = (tmp_path / name / "model.safetensors").read_bytes()
    assert weights == (parts / name / "model.safetensors").read_bytes()
    before = (tmp_path / name / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    make(local, name, corpus / "train", tmp_path / name, parts / "tiny.yaml")
    assert "kept" in capsys.readouterr().out
    assert (tmp_path / name / "model.safetensors").stat().st_mtime_ns == before
    other = {section: {**values, "seed": 1} for section, values in TINY.items()}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    make(local, name, corpus / "train", tmp_path / name, tmp_path / "other.yaml")
    assert (tmp_path / name / "model.safetensors").read_bytes() != weights
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "other.yaml"])  # nothing half-made
    make(local, name, corpus / "train", tmp_path / "seed", parts / "tiny.yaml", "--seed", "1")
    assert (tmp_path / "seed" / "model.safetensors").read_bytes() == (
        tmp_path / name / "model.safetensors"
    ).read_bytes()


def test_parts_from_24_khz_and_one_caption_each(corpus, local, parts, tmp_path):
    captions = read_captions(corpus / "train" / "captions")
    paths = dict(list(read_kaldi(corpus / "train" / "wav.scp").items())[:8])
    for utt_id, path in paths.items():
        samples, _ = sf.read(path)
        paths[utt_id] = tmp_path / f"{utt_id}.wav"
        sf.write(paths[utt_id], soxr.resample(samples, 16000, 24000), 24000)
    write_kaldi(tmp_path / "wav.scp", paths)
    write_captions(tmp_path / "captions", {utt_id: captions[utt_id][:1] for utt_id in paths})
    for name in ("hubert", "llm"):
        make(local, name, tmp_path, tmp_path / name, parts / "tiny.yaml")
        assert (tmp_path / name / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["hubert", "llm"])
def test_unknown_key_is_named(local, corpus, name, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({name: {"stepps": 3}}))
    with pytest.raises(SystemExit):
        make(local, name, corpus / "train", tmp_path / name, tmp_path / "bad.yaml")
    error = capsys.readouterr().err
    assert "stepps" in error and "bad.yaml" in error and len(error.splitlines()) == 1
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("samples", [400, 719, 720, 5000, 16001])
def test_faster_hubert_is_the_same_hubert(local, samples):
    hubert = local("pretrain_hubert")
    torch.manual_seed(0)
    model = hubert.build(hubert.HubertConfig(conv_dim=(16, 6), hidden_size=16)).double().train()
    batch = torch.randn(3, samples, dtype=torch.double) * 0.1
    mask = torch.rand(3, (samples - 400) // 320 + 1) < 0.3
    mask[0, 0] = True
    parameters = dict(model.named_parameters())
    outputs = hubert.encode(model, batch, mask), model(batch, mask_time_indices=mask).last_hidden_state
    assert torch.allclose(*outputs, atol=1e-10)
    weights = torch.randn_like(outputs[0])
    faster, slower = (torch.autograd.grad((output * weights).sum(), parameters.values()) for output in outputs)
    for name, one, other in zip(parameters, faster, slower, strict=True):
        assert torch.allclose(one, other, atol=1e-8), name


def test_filters_begin_as_a_fourier_transform(local):
    """A tone of 300 Hz is heard most by the filters of the frequencies beside it, whatever its phase."""
    filters = local("pretrain_conv").fourier_filters(512)
    assert filters.shape == (512, 400) and torch.equal(filters[:256], -filters[256:])
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(512))
    frequencies = 60.0 + 40.0 * torch.arange(64)  # the lower half, then cosines and sines of all 128
    for phase in (0.0, 1.0, 2.5):
        tone = torch.sin(2 * torch.pi * 300 * torch.arange(400) / 16000 + phase)
        power = (filters[:128] @ tone).square() + (filters[128:256] @ tone).square()
        assert frequencies[power[:64].argmax()] == 300 and power[64:].max() < 1e-3 * power.max()


def test_parts_of_a_batch_have_the_gradient_of_the_whole(local):
    Optimizer = local("pretrain_optimizer").Optimizer
    data = torch.randn(5, 3)

    def loss_of(rows):
        loss = model(rows).square().mean()
        return loss, loss.detach()

    trained = []
    for threads in (1, 2, 8):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = Optimizer(model, 0.1, steps=20, threads=threads)
        shown = [optimizer.step(loss_of, (data,)).item() for _ in range(10)]
        assert shown[-1] < shown[0]
        trained.append((torch.tensor(shown), model.weight.detach()))
    for shown, weight in trained[1:]:
        assert torch.allclose(shown, trained[0][0], atol=1e-5) and torch.allclose(weight, trained[0][1], atol=1e-5)


def test_default_sizes(local):
    hubert = local("pretrain_hubert")
    config = local("pretrain_common").read_config(RECIPE / "conf" / "pretrain.yaml", "hubert", hubert.HubertConfig())
    size = sum(parameter.numel() for parameter in hubert.build(config).parameters())
    assert 1.5e6 < size < 2.5e6
    llm = local("pretrain_llm")
    config = local("pretrain_common").read_config(RECIPE / "conf" / "pretrain.yaml", "llm", llm.LLMConfig())
    size = sum(parameter.numel() for parameter in local("pretrain_sequences").build(config, 1000, 1, 2).parameters())
    assert 2.5e6 < size < 3.5e6


def test_targets_stand_where_hubert_has_its_frames(local):
    targets = local("pretrain_targets")
    for samples in (400, 719, 720, 16000, 33333):
        wave = torch.randn(samples) * 0.1
        mel = targets.log_mel(wave)
        assert len(mel) == len(targets.pitch(wave)) == len(targets.tempo(mel)) == targets.count_frames(samples)
    loud = targets.log_mel(torch.randn(8000))
    assert targets.log_mel(torch.randn(8000) * 0.1).mean() < loud.mean() - 4  # levels are kept: ln(100) = 4.6
    tone = torch.sin(torch.arange(16000) / 16000 * 2 * torch.pi * 300)
    height, voiced = targets.pitch(tone)[20].tolist()
    assert 3 * height / (voiced / 4) == pytest.approx(12, abs=0.7)  # 300 Hz: an octave above 150 Hz


def test_mask_and_crops(local):
    hubert = local("pretrain_hubert")
    config = hubert.HubertConfig(batch_seconds=6.0)
    mask = hubert.draw_mask(8, 100, config, random.Random(0))
    assert 0.15 < mask.float().mean() < 0.35
    waves = [torch.full((length,), i + 1, dtype=torch.int16) for i, length in enumerate((20000, 21000, 60000, 50000))]
    targets = [torch.full((hubert.count_frames(len(wave)), 3), i) for i, wave in enumerate(waves)]
    batches = hubert.Batches(waves, targets, config)
    for seed in range(20):
        samples, clusters = batches.draw(random.Random(seed))
        assert hubert.count_frames(samples.shape[1]) == clusters.shape[1]
        assert torch.equal((samples[:, 0] * 32768).round().long() - 1, clusters[:, 0, 0])  # the same utterance

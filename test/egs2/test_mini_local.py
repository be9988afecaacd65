"""Stage 1 of egs2/mini_emospeech: the synthetic corpus, and the mini pretrained parts made from it."""

import csv
import hashlib
import importlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
import yaml
from scipy.stats import chi2_contingency

from espnet2_secap.data.io import read_captions, read_kaldi, write_captions, write_kaldi
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.metric.words import load_words, named

RECIPE = Path(__file__).resolve().parents[2] / "egs2" / "mini_emospeech" / "sec1"
SIZES = {"train": 48, "valid": 6, "test": 12}
TINY = {
    "hubert": {
        "conv_dim": [8] * 7,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "clusters": [8, 4, 4],
        "steps": 2,
        "batch_seconds": 4.0,
        "threads": 2,
    },
    "llm": {
        "merges": 20,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "steps": 2,
        "batch_tokens": 100,
        "threads": 1,
    },
}


@pytest.fixture(scope="module")
def local():
    """Import a module of the recipe's local/."""
    sys.path.insert(0, str(RECIPE / "local"))
    yield importlib.import_module
    sys.path.remove(str(RECIPE / "local"))


def synthesize(output, *options):
    command = [sys.executable, "local/synthesize.py", "--output", output]
    for name, size in SIZES.items():
        command += [f"--n_{name}", str(size)]
    return subprocess.run([*command, *options], cwd=RECIPE, capture_output=True, text=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "data"
    done = synthesize(folder, "--nj", "1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def full(local):
    """The plan of the whole corpus, without the audio."""
    sizes = {"train": 1200, "valid": 100, "test": 200}
    return {name: local("plan").draw_set(name, size, seed=0) for name, size in sizes.items()}


def checksums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.wav")}


def table(corpus, name):
    with open(corpus / "wav" / f"{name}.tsv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


# the corpus


def test_same_bytes_each_time_however_many_processes(corpus, tmp_path):
    done = synthesize(tmp_path / "again", "--nj", "3")
    assert done.returncode == 0, done.stderr
    first = checksums(corpus / "wav")
    assert len(first) == sum(SIZES.values()) == len(set(first.values()))
    assert checksums(tmp_path / "again" / "wav") == first
    for name in ("train/captions", "test/text", "valid/utt2rate", "wav/train.tsv"):
        assert (tmp_path / "again" / name).read_bytes() == (corpus / name).read_bytes()


def test_same_bytes_in_another_order(corpus, local, tmp_path):
    utterances = local("plan").draw_set("test", SIZES["test"], seed=0)[::-1]
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'local'); import plan, synthesize;"
        f" utterances = plan.draw_set('test', {SIZES['test']}, 0)[::-1];"
        " synthesize.make_audio(utterances, Path(sys.argv[1]), 0, 1)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "test"], cwd=RECIPE, check=True, capture_output=True)
    assert len(utterances) == SIZES["test"]
    assert checksums(tmp_path / "test") == checksums(corpus / "wav" / "test")


def test_another_seed_is_another_corpus(local):
    draw_set = local("plan").draw_set
    assert draw_set("valid", 10, seed=0) == draw_set("valid", 10, seed=0) != draw_set("valid", 10, seed=1)


def test_data_directories_are_good(corpus):
    for name, size in SIZES.items():
        assert validate_data_dir(corpus / name, require=["captions", "text", "utt2emo", "emo2utt"]) == []
        for file in ("wav.scp", "text", "captions", "utt2spk", "utt2emo", "utt2rate", "utt2volume", "utt2pitch"):
            assert len(read_kaldi(corpus / name / file)) == size
        for path in read_kaldi(corpus / name / "wav.scp").values():
            info = sf.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert 0.8 < info.duration < 8
        assert min(Counter(read_kaldi(corpus / name / "utt2emo").values()).values()) == size // 6


def test_a_second_run_mends_and_touches_nothing_else(tmp_path):
    options = ("--n_train", "6", "--n_valid", "1", "--n_test", "1")
    assert synthesize(tmp_path, *options).returncode == 0
    before, times = checksums(tmp_path / "wav"), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    broken = sorted(times)[0]
    broken.write_bytes(broken.read_bytes()[:1000])
    assert synthesize(tmp_path, *options).returncode == 0
    assert checksums(tmp_path / "wav") == before
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [broken]


def test_sizes_can_shrink(corpus, tmp_path):
    for sizes in (("6", "1", "2"), ("3", "1", "1")):
        options = [word for name, n in zip(SIZES, sizes, strict=True) for word in (f"--n_{name}", n)]
        assert synthesize(tmp_path, *options).returncode == 0
        assert len(checksums(tmp_path / "wav")) == sum(map(int, sizes))  # nothing is left of the larger one


def test_no_utterances_is_an_error_and_leaves_the_corpus(corpus, tmp_path):
    done = synthesize(tmp_path / "none", "--n_train", "0")
    assert done.returncode == 1
    assert "--n_train 0" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.wav"))


def test_captions_are_true(corpus):
    words = load_words(RECIPE / "conf" / "words.json")
    said = Counter()
    for name in SIZES:
        truth = {a: read_kaldi(corpus / name / f"utt2{a}") for a in ("rate", "volume", "pitch")}
        truth["emotion"] = read_kaldi(corpus / name / "utt2emo")
        intensity = {row["utt_id"]: row["intensity"] for row in table(corpus, name)}
        for utt_id, captions in read_captions(corpus / name / "captions").items():
            assert 3 <= len(captions) <= 5 and len(set(captions)) == len(captions)
            for caption in captions:
                said["captions"] += 1
                assert named(caption, words["emotion"]) == [truth["emotion"][utt_id]]
                for attribute in ("rate", "volume", "pitch"):
                    found = named(caption, words[attribute])
                    assert found in ([], [truth[attribute][utt_id]]), caption
                    said[attribute] += bool(found)
                assert named(caption, words["intensity"]) in ([], [intensity[utt_id]]), caption
                said["intensity"] += bool(named(caption, words["intensity"]))
    assert all(0.9 < said[attribute] / said["captions"] < 1 for attribute in ("rate", "volume"))
    assert 0.2 < said["pitch"] / said["captions"] and 0.1 < said["intensity"] / said["captions"]


def test_no_word_is_part_of_another_classs():
    content = json.loads((RECIPE / "conf" / "words.json").read_text(encoding="utf-8"))
    words = [(f"{a}.{c}", word) for a, classes in content.items() for c, some in classes.items() for word in some]
    assert len(words) == len({word for _, word in words})
    for where, word in words:
        assert not [other for elsewhere, other in words if elsewhere != where and word in other]


def test_classes_are_true_of_the_audio(corpus, local):
    synthesize = local("synthesize")
    rates, levels = {}, {}
    for name in SIZES:
        for row in table(corpus, name):
            samples, fs = sf.read(corpus / "wav" / name / f"{row['utt_id']}.wav")
            seconds = len(samples) / fs - 2 * synthesize.MARGIN
            rate = len(read_kaldi(corpus / name / "text")[row["utt_id"]]) / seconds
            assert float(row["characters_per_second"]) == pytest.approx(rate, abs=0.01)
            rates.setdefault(row["rate"], []).append(rate)
            levels.setdefault(row["volume"], []).append(synthesize.find_speech(samples, fs)[2])
    assert max(rates["slow"]) < min(rates["normal"]) and max(rates["normal"]) < min(rates["fast"])
    assert max(levels["quiet"]) + 4 < min(levels["normal"]) and max(levels["normal"]) + 4 < min(levels["loud"])


def test_pitch_is_true_of_the_audio(local):
    espeak, pitch = local("espeak").Espeak(), local("pretrain_targets").pitch
    plan = local("plan")
    for voice in plan.VOICES + plan.TEST_VOICES:
        medians = []
        for low, high in plan.PITCHES.values():
            samples = espeak.render("请把空调的温度调到二十六度", f"cmn+{voice}", 200, (low + high) // 2, 50)
            wave = torch.from_numpy(soxr.resample(samples, espeak.sample_rate, 16000)).float()
            height, voiced = pitch(wave).T
            medians.append((height / voiced.clamp(min=1e-3))[voiced > 2].median().item())
        assert medians[0] < medians[1] < medians[2], voice


def test_unseen_voices_and_sentences_are_in_the_test_set_only(full):
    voices = {name: {one.speaker for one in utterances} for name, utterances in full.items()}
    sentences = {name: {one.sentence for one in utterances} for name, utterances in full.items()}
    assert len(voices["train"] | voices["test"]) >= 8 and voices["valid"] <= voices["train"]
    assert len(voices["test"] - voices["train"]) == 2
    assert len(sentences["train"] | sentences["test"]) >= 60 and sentences["valid"] <= sentences["train"]
    assert len(sentences["test"] - sentences["train"]) >= 10
    assert all(re.fullmatch("[\u4e00-\u9fff]{7,18}", one) for one in sentences["train"] | sentences["test"])


def test_what_is_said_and_by_whom_tells_nothing_of_the_emotion(full):
    for utterances in full.values():
        assert set(Counter(one.emotion for one in utterances).values()) <= {len(utterances) // 6 + i for i in (0, 1)}
    for attribute in ("sentence", "speaker"):
        counts = Counter((getattr(one, attribute), one.emotion) for one in full["train"])
        rows = sorted({row for row, _ in counts})
        columns = sorted({column for _, column in counts})
        observed = np.array([[counts[row, column] for column in columns] for row in rows])
        assert chi2_contingency(observed).pvalue > 0.01


def test_rate_and_volume_are_more_than_the_emotion(full):
    for attribute in ("rate", "volume"):
        usual = {}
        for one in full["train"]:
            usual.setdefault(one.emotion, Counter())[getattr(one, attribute)] += 1
        guess = {emotion: counts.most_common(1)[0][0] for emotion, counts in usual.items()}
        right = np.mean([guess[one.emotion] == getattr(one, attribute) for one in full["test"]])
        assert 0.4 < right < 0.8


# the pretrained parts


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


@pytest.mark.parametrize("name", ["hubert", "llm"])
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
    model = hubert.build(hubert.HubertConfig(conv_dim=(4, 5, 6, 7, 8, 9, 10), hidden_size=16)).double().train()
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


def test_parts_of_a_batch_have_the_gradient_of_the_whole(local):
    common = local("pretrain_common")
    data = torch.randn(5, 3)

    def loss_of(rows):
        loss = model(rows).square().mean()
        return loss, loss.detach()

    trained = []
    for threads in (1, 2, 8):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = common.Optimizer(model, 0.1, steps=20, threads=threads)
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
    size = sum(parameter.numel() for parameter in llm.build(config, 1000, 1, 2).parameters())
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


def test_data_sh_makes_all(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    options = {"n_train": 12, "n_valid": 2, "n_test": 2, "data": tmp_path / "data", "nj": 1}
    options |= {"pretrained": tmp_path / "pretrained", "pretrain_config": tmp_path / "tiny.yaml"}
    command = ["local/data.sh", *(str(word) for key, value in options.items() for word in (f"--{key}", value))]
    done = subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for part in ("hubert", "llama"):
        assert (tmp_path / "pretrained" / part / "config.json").is_file()
    assert len(read_kaldi(tmp_path / "data" / "train" / "wav.scp")) == 12

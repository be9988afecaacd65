import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.registry import find_metric
from espnet2_secap.metric.segment import segment_char

FS = 16000


@pytest.fixture(scope="module")
def clap(tiny_bert, tmp_path_factory) -> str:
    """A random CLAP with the tokenizer of the tiny BERT."""
    folder = str(tmp_path_factory.mktemp("clap"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.save_pretrained(folder)
    text = dict(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    text |= dict(max_position_embeddings=66, pad_token_id=0)
    audio = dict(
        spec_size=128, num_mel_bins=32, window_size=4, patch_embeds_hidden_size=8, hidden_size=64, depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
    )  # fmt: skip
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(8)
    model.save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=32, sampling_rate=FS, hop_length=160, max_length_s=1, truncation="rand_trunc"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> str:
    """Two short recordings, and a long one that begins as the first does, at another rate."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    waves = {"a": rng.normal(size=FS), "b": np.sin(np.arange(FS // 2) / 8)}
    waves["c"] = np.concatenate([waves["a"], rng.normal(size=FS)])
    lines = []
    for utt, wave in waves.items():
        soundfile.write(folder / f"{utt}.wav", 0.1 * wave, FS)
        lines.append(f"{utt} {folder / utt}.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    return str(folder)


def test_text_is_the_mean_cosine_with_the_references(clap):
    score = find_metric("clap_text").make(Context(segment_char, models={"clap": clap}))
    model, tokenizer = ClapModel.from_pretrained(clap).eval(), AutoTokenizer.from_pretrained(clap)
    caption, references = "声音高亢", ["语速较快，声音高亢", "悲伤"]
    with torch.no_grad():
        vectors = [model.get_text_features(**tokenizer(text, return_tensors="pt")) for text in (caption, *references)]
    own, *others = (getattr(one, "pooler_output", one)[0] for one in vectors)
    wanted = [torch.cosine_similarity(own, one, dim=0).item() for one in others]
    assert score({"u": references}, {"u": caption})[0] == pytest.approx(100 * sum(wanted) / 2, abs=1e-3)
    assert score({"u": [caption]}, {"u": caption})[0] == pytest.approx(100, abs=1e-3)


def test_audio_is_the_cosine_with_the_recording(clap, recordings):
    score = find_metric("clap_audio").make(Context(segment_char, models={"clap": clap, "audio_dir": recordings}))
    references = dict.fromkeys("abc", ["高兴"])
    each = score(references, dict.fromkeys("abc", "声音高亢"))[1]
    assert each["a"] != pytest.approx(each["b"], abs=0.1)
    assert each["a"] == pytest.approx(each["c"], abs=1e-3)  # of a long recording the beginning counts, each time
    assert score(references, dict.fromkeys("abc", "声音高亢"))[1] == each
    assert score(references, {"a": "", "b": "高兴", "c": "高兴"})[1]["a"] == 0


def test_what_is_missing_is_said(clap, tiny_bert, recordings):
    with pytest.raises(MetricUnavailable, match="--clap"):
        find_metric("clap_text").make(Context(segment_char))
    with pytest.raises(MetricUnavailable, match="--audio_dir"):
        find_metric("clap_audio").make(Context(segment_char, models={"clap": clap}))
    with pytest.raises(SecError, match="is bert; give a CLAP with audio and text"):
        find_metric("clap_text").make(Context(segment_char, models={"clap": tiny_bert}))
    score = find_metric("clap_audio").make(Context(segment_char, models={"clap": clap, "audio_dir": recordings}))
    with pytest.raises(SecError, match=r"wav.scp: lacks 1 of the utterances \(z\)"):
        score({"z": ["高兴"]}, {"z": "高兴"})


def test_commands_and_segments_are_refused(clap, recordings, tmp_path):
    make = find_metric("clap_audio").make
    (tmp_path / "wav.scp").write_text("a cat a.wav |\n")
    with pytest.raises(SecError, match="is a command"):
        make(Context(segment_char, models={"clap": clap, "audio_dir": str(tmp_path)}))
    (tmp_path / "wav.scp").write_text(f"a {recordings}/a.wav\n")
    (tmp_path / "segments").write_text("a a 0 1\n")
    with pytest.raises(SecError, match="segments are not cut here"):
        make(Context(segment_char, models={"clap": clap, "audio_dir": str(tmp_path)}))
    with pytest.raises(SecError, match="wav.scp"):
        make(Context(segment_char, models={"clap": clap, "audio_dir": str(tmp_path / "nowhere")}))

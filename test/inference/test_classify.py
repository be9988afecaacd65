"""SER models of transformers: their own classes, and the head of mean, linear, tanh, linear."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from tiny_hubert import CLASSIFIER as SIZES
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoModelForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

from espnet2_secap.errors import SecError
from espnet2_secap.inference.classify import SpeechClassifier, mapped

FS = 16000
NAMES = ["angry", "fear", "happy", "neutral"]


def wave(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=round(seconds * FS)).astype(np.float32)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory) -> str:
    """A HubertForSequenceClassification."""
    folder = str(tmp_path_factory.mktemp("ser"))
    config = HubertConfig(**SIZES, num_labels=4, id2label=dict(enumerate(NAMES)))
    torch.manual_seed(0)
    HubertForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=FS, do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A folder with the other head, as its own code would save it, and what that code computes."""
    folder = tmp_path_factory.mktemp("ser") / "other"
    config = HubertConfig(**SIZES, num_class=4, classifier_dropout=0.1)
    torch.manual_seed(0)
    model = HubertModel(config).eval()
    dense, out_proj = torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)
    model.save_pretrained(folder)
    state = {f"hubert.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
    state |= {f"classifier.dense.{key}": value for key, value in dense.state_dict().items()}
    state |= {f"classifier.out_proj.{key}": value for key, value in out_proj.state_dict().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=FS, do_normalize=True)
    extractor.save_pretrained(folder)

    def computed(samples: np.ndarray) -> list[float]:
        inputs = extractor(samples, sampling_rate=FS, return_tensors="pt").input_values
        with torch.no_grad():
            return out_proj(dense(model(inputs).last_hidden_state.mean(1)).tanh())[0].softmax(-1).tolist()

    return str(folder), computed


def test_a_class_of_transformers(hubert):
    model = SpeechClassifier(hubert)
    assert (model.fs, model.labels) == (FS, NAMES)
    inside, extractor = AutoModelForAudioClassification.from_pretrained(hubert).eval(), model.front_end
    with torch.no_grad():
        inputs = extractor(wave(1.3), sampling_rate=FS, return_tensors="pt")
        wanted = inside(**inputs).logits[0].softmax(-1).tolist()
    assert model.probabilities(wave(1.3)).tolist() == pytest.approx(wanted, abs=1e-6)


def test_the_other_head(other):
    folder, computed = other
    model = SpeechClassifier(folder, NAMES)
    for seconds in (0.5, 2.0):
        assert model.probabilities(wave(seconds)).tolist() == pytest.approx(computed(wave(seconds)), abs=1e-6)
    cut = SpeechClassifier(folder, NAMES, seconds=1.0)
    assert cut.probabilities(wave(2.0)).tolist() == pytest.approx(computed(wave(2.0)[:FS]), abs=1e-6)
    padded = np.concatenate([wave(0.4), np.zeros(round(0.6 * FS), dtype=np.float32)])
    assert cut.probabilities(wave(0.4)).tolist() == pytest.approx(computed(padded), abs=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_padding_is_that_of_the_released_code(other, tmp_path, masked):
    """Whether the zeros count where the level is normalised is the extractor's to say."""
    folder, _ = other
    shutil.copytree(folder, tmp_path / "model")
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=FS, do_normalize=True, return_attention_mask=masked)
    extractor.save_pretrained(tmp_path / "model")
    model = SpeechClassifier(str(tmp_path / "model"), NAMES, seconds=1.0)
    padding = {"padding": "max_length", "truncation": True, "max_length": FS}
    for seconds in (0.4, 2.0):
        samples = wave(seconds) + 0.5
        inputs = extractor(samples, sampling_rate=FS, return_tensors="pt", **padding).input_values
        with torch.no_grad():
            wanted = model.model(inputs)[0].softmax(-1).tolist()
        assert model.probabilities(samples).tolist() == pytest.approx(wanted, abs=1e-6)
    means = float(model.front_end(wave(0.4) + 0.5, sampling_rate=FS, **padding).input_values[0][:6400].mean())
    assert (abs(means) < 1e-3) == masked


def test_a_long_recording_is_the_mean_of_its_windows(hubert, monkeypatch):
    monkeypatch.setattr("espnet2_secap.inference.classify.LONGEST", 1.0)
    model, samples = SpeechClassifier(hubert), wave(2.5)
    with torch.no_grad():
        parts = [model._logits(part) * len(part) for part in np.array_split(samples, 3)]
    wanted = (sum(parts) / len(samples)).softmax(-1).tolist()
    assert model.probabilities(samples).tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_model_with_another_front_end(tmp_path):
    """Whisper reads 30 s of mel filterbanks, whatever the recording's length."""
    config = WhisperConfig(
        d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32, num_labels=3, num_mel_bins=8,
        max_source_positions=1500, classifier_proj_size=8, decoder_layers=1, decoder_attention_heads=2,
    )  # fmt: skip
    WhisperForAudioClassification(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(tmp_path)
    found = SpeechClassifier(str(tmp_path)).probabilities(wave(1.0))
    assert found.shape == (3,) and found.sum() == pytest.approx(1, abs=1e-5)


def test_a_spectrogram_transformer(tmp_path):
    """AST, whose front-end counts in frames what that of wav2vec 2.0 counts in samples."""
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3, max_length=64,
        num_mel_bins=16,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=16, max_length=64).save_pretrained(tmp_path)
    whole, cut = SpeechClassifier(str(tmp_path)), SpeechClassifier(str(tmp_path), seconds=0.3)
    assert cut.probabilities(wave(0.9)).tolist() == pytest.approx(
        whole.probabilities(wave(0.9)[:4800]).tolist(), abs=1e-6
    )
    assert not np.allclose(cut.probabilities(wave(0.9)), whole.probabilities(wave(0.9)))


def test_recordings_of_any_rate(hubert, tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * wave(1.0), FS)
    soundfile.write(tmp_path / "b.wav", 0.1 * wave(1.0), 8000)
    found = dict(SpeechClassifier(hubert).classify({"a": str(tmp_path / "a.wav"), "b": str(tmp_path / "b.wav")}))
    assert list(found) == ["a", "b"] and not np.allclose(found["a"], found["b"])


def test_labels_that_do_not_fit_are_one_line(hubert):
    for labels in (["a", "b"], ["a", "a", "b", "c"]):
        with pytest.raises(SecError, match="the model has 4 classes; name each once"):
            SpeechClassifier(hubert, labels)


def test_tensors_that_do_not_fit_are_named(other, tmp_path):
    folder, _ = other
    shutil.copytree(folder, tmp_path / "model")
    state = load_file(tmp_path / "model" / "model.safetensors")
    del state["classifier.dense.weight"]
    save_file(state, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(SecError, match="missing: classifier.dense.weight"):
        SpeechClassifier(str(tmp_path / "model"))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_class": 7}))
    with pytest.raises(SecError, match="classifier.out_proj"):
        SpeechClassifier(str(tmp_path / "model"))


def test_labels_that_the_map_lacks_are_all_named():
    assert mapped(["fear"], {"fear": "afraid"}, "map") == {"fear": "afraid"}
    with pytest.raises(SecError, match="--label_map map: has no line for fear, neutral; add"):
        mapped(["angry", "fear", "neutral"], {"angry": "angry"}, "map")

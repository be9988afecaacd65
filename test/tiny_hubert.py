"""Fixtures: tiny random models in the format of transformers, and waveforms."""

import json

import pytest
import torch

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
}


@pytest.fixture(scope="session")
def make_model():
    """Function (folder, normalize, kind, **config) -> model saved there; every parameter is random."""
    from transformers import (
        HubertConfig,
        HubertModel,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )

    kinds = {"hubert": (HubertConfig, HubertModel), "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model)}

    def make(folder, normalize=True, kind="hubert", **config):
        config_class, model_class = kinds[kind]
        torch.manual_seed(0)
        model = model_class(config_class(**{**SMALL, **config})).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases as well
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=True).save_pretrained(folder)
        assert json.loads((folder / "preprocessor_config.json").read_text())["do_normalize"] == normalize
        return model

    return make


@pytest.fixture(scope="session")
def wavs():
    """Waveforms of 1.3, 0.4, 2.0 and 0.4 s, each with a loudness and an offset of its own."""
    noise = torch.Generator().manual_seed(1)
    lengths, scales = [20801, 6400, 32000, 6400], [0.1, 0.02, 0.3, 0.05]
    return [torch.randn(n, generator=noise) * s + s / 4 for n, s in zip(lengths, scales, strict=True)]


@pytest.fixture(scope="session")
def pad():
    """Function: waveforms -> (padded batch, lengths). The padding is not zero: nobody may look at it."""

    def padded(items):
        lengths = torch.tensor([len(item) for item in items])
        batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=0.7)
        return batch, lengths

    return padded


CLASSIFIER = dict(  # of a HuBERT for classification, as small as can be
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16),
    conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
    classifier_proj_size=8, initializer_range=0.3,
)  # fmt: skip

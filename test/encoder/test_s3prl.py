import itertools
import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from espnet2_secap.encoder.s3prl import S3PRLEncoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.errors import SecError

TOLERANCE = 1e-5


def alone(folder, model, wav):
    """What transformers computes from one waveform by itself."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    values = extractor(wav.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        return model(values, output_hidden_states=True)


def check_parity(folder, model, encoder, wavs, pad):
    """Each utterance of a padded batch, and each alone, has what transformers gives for it alone."""
    feats, lengths = encoder(*pad(wavs))
    for row, wav, length in zip(feats, wavs, lengths.tolist(), strict=True):
        expected = alone(folder, model, wav).last_hidden_state[0]
        assert length == len(expected) == (len(wav) - 400) // 320 + 1
        assert (row[:length] - expected).abs().max() < TOLERANCE
        assert not row[length:].any()
        single, (frames,) = encoder(wav[None], torch.tensor([len(wav)]))
        assert single.shape == (1, length, encoder.output_size()) and frames == length
        assert (single[0] - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "stable,norm,bias,normalize",
    list(itertools.product([True, False], ["layer", "group"], [True, False], [True, False])),
)
def test_last_is_last_hidden_state(tmp_path, make_model, wavs, pad, stable, norm, bias, normalize):
    config = {"do_stable_layer_norm": stable, "feat_extract_norm": norm, "conv_bias": bias}
    model = make_model(tmp_path, normalize, **config)
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path))
    assert encoder.padding_safe
    assert (encoder.frame_shift, encoder.min_samples, encoder.output_size()) == (320, 400, 32)
    check_parity(tmp_path, model, encoder, wavs, pad)


def test_padding_does_change_a_group_norm_model(tmp_path, make_model, wavs, pad):
    """The reason for `MaskedGroupNorm`: transformers itself, with a mask, gives something else in a batch."""
    model = make_model(tmp_path, False, feat_extract_norm="group")
    batch, lengths = pad(wavs)
    mask = (torch.arange(batch.size(1)) < lengths[:, None]).long()
    with torch.no_grad():
        padded = model(batch * mask, attention_mask=mask).last_hidden_state[1]
    expected = alone(tmp_path, model, wavs[1]).last_hidden_state[0]
    assert (padded[: len(expected)] - expected).abs().max() > 0.01


def test_group_norm_runs_a_padded_batch_at_once(tmp_path, make_model, wavs, pad):
    make_model(tmp_path, True, feat_extract_norm="group")
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path), layer="all")
    passes = []
    encoder.upstream.expert.model.feature_extractor.register_forward_hook(lambda *_: passes.append(1))
    feats, lengths = encoder(*pad(wavs))
    assert len(passes) == 1 and len({len(wav) for wav in wavs}) > 1
    for row, wav, length in zip(feats, wavs, lengths.tolist(), strict=True):
        single, _ = encoder(wav[None], torch.tensor([len(wav)]))
        assert (row[:length] - single[0]).abs().max() < TOLERANCE


def test_batch_norm_before_the_positions_is_not_padding_safe(tmp_path, make_model, wavs, pad):
    model = make_model(tmp_path, False, conv_pos_batch_norm=True)
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path))
    assert not encoder.padding_safe
    check_parity(tmp_path, model, encoder, wavs, pad)


def test_other_strides_and_receptive_field(tmp_path, make_model, wavs, pad):
    strides = {"conv_dim": [16] * 3, "conv_kernel": [10, 8, 4], "conv_stride": [8, 5, 2]}
    model = make_model(tmp_path, num_feat_extract_layers=3, **strides)
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path))
    assert encoder.frame_shift == 80
    assert encoder.min_samples == ((4 - 1) * 5 + 8 - 1) * 8 + 10
    feats, lengths = encoder(*pad(wavs))
    for row, wav, length in zip(feats, wavs, lengths.tolist(), strict=True):
        expected = alone(tmp_path, model, wav).last_hidden_state[0]
        assert length == len(expected)
        assert (row[:length] - expected).abs().max() < TOLERANCE
    one_frame, frames = encoder(torch.randn(1, encoder.min_samples), torch.tensor([encoder.min_samples]))
    assert frames.tolist() == [1] and one_frame.size(1) == 1


def test_wav2vec2(tmp_path, make_model, wavs, pad):
    model = make_model(tmp_path, kind="wav2vec2", do_stable_layer_norm=True)
    check_parity(tmp_path, model, S3PRLEncoder("hf_wav2vec2_custom", str(tmp_path)), wavs, pad)


def test_the_released_code_gives_the_same(secap_tiny):
    """Features that SECap's released code computed with its own version of transformers."""
    fixture = secap_tiny
    meta = json.loads((fixture / "meta.json").read_text(encoding="utf-8"))
    expected = np.load(fixture / "expected.npz")
    encoder = S3PRLEncoder("hf_hubert_custom", str(fixture / "weights" / "hubert"))
    for utt in meta["utts"]:
        names = [name for name in expected.files if utt in name and "hubert" in name]
        assert len(names) == 1, expected.files
        want = torch.from_numpy(expected[names[0]]).reshape(-1, encoder.output_size())
        wav, rate = soundfile.read(fixture / "wav" / f"{utt}.wav", dtype="float32")
        assert rate == 16000
        feats, lengths = encoder(torch.from_numpy(wav)[None], torch.tensor([len(wav)]))
        assert lengths.tolist() == [len(want)]
        assert (feats[0] - want).abs().max() < 1e-4 * want.abs().max()


@pytest.mark.parametrize("stable", [True, False])
def test_layers(tmp_path, make_model, wavs, pad, stable):
    model = make_model(tmp_path, do_stable_layer_norm=stable)
    out = alone(tmp_path, model, wavs[0])
    # the trap this is about: with stable layer norm, transformers' last hidden state lacks the final norm
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state) != stable
    layers = [*out.hidden_states[:-1], out.last_hidden_state]
    batch, lengths = pad(wavs)
    for k, expected in enumerate(layers):
        for name in (k, str(k)):
            feats, frames = S3PRLEncoder("hf_hubert_custom", str(tmp_path), layer=name)(batch, lengths)
            assert (feats[0, : frames[0]] - expected[0]).abs().max() < TOLERANCE
    every = S3PRLEncoder("hf_hubert_custom", str(tmp_path), layer="all")
    assert (every.num_layers, every.output_size()) == (4, 4 * 32)
    feats, frames = every(batch, lengths)
    assert (feats[0, : frames[0]] - torch.cat(layers, dim=2)[0]).abs().max() < TOLERANCE


def test_weighted_sum_learns_its_weights_only(tmp_path, make_model, wavs, pad):
    model = make_model(tmp_path, do_stable_layer_norm=True)
    out = alone(tmp_path, model, wavs[0])
    layers = torch.stack([*out.hidden_states[:-1], out.last_hidden_state])[:, 0]
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path), layer="weighted_sum").train()
    assert (encoder.num_layers, encoder.output_size()) == (1, 32)
    feats, lengths = encoder(*pad(wavs))
    assert (feats[0, : lengths[0]] - layers.mean(dim=0)).abs().max() < TOLERANCE
    feats.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is not None] == ["mix.weight"]
    assert encoder.mix.weight.grad.abs().min() > 0
    with torch.no_grad():
        encoder.mix.weight.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
    weights = torch.tensor([1, np.e, 1 / np.e, np.e**2]) / (1 + np.e + 1 / np.e + np.e**2)
    feats, _ = encoder(*pad(wavs))
    assert (feats[0, : lengths[0]] - torch.einsum("l,ltd->td", weights, layers)).abs().max() < TOLERANCE
    # the same from stored features
    stored, frames = S3PRLEncoder("hf_hubert_custom", str(tmp_path), layer="all")(*pad(wavs))
    mixture = StoredEncoder(stored.size(2), num_layers=4, layer="weighted_sum")
    mixture.mix.load_state_dict(encoder.mix.state_dict())
    assert (mixture(stored, frames)[0] - feats).abs().max() < TOLERANCE


def test_frozen_whatever_the_mode(tmp_path, make_model, wavs, pad):
    dropout = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"), 0.5)
    model = make_model(tmp_path, mask_time_prob=0.5, **dropout)
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path)).train()
    assert encoder.training and not any(module.training for module in encoder.upstream.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.upstream.is_named_pretrained is True
    check_parity(tmp_path, model, encoder, wavs, pad)
    assert not encoder(*pad(wavs))[0].requires_grad


def test_float32_under_autocast_and_from_half_precision_weights(tmp_path, make_model, wavs, pad):
    make_model(tmp_path).half().save_pretrained(tmp_path)
    model = HubertModel.from_pretrained(tmp_path, dtype=torch.float32)
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path))
    with torch.autocast("cpu", torch.bfloat16):
        feats, lengths = encoder(*pad(wavs))
    expected = alone(tmp_path, model, wavs[2]).last_hidden_state[0]
    assert feats.dtype == torch.float32
    assert (feats[2, : lengths[2]] - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("name,width", [("fbank", 240), ("fbank_no_cmvn", 240), ("mfcc", 39)])
def test_filterbanks_are_s3prls_own(wavs, pad, name, width):
    encoder = S3PRLEncoder(name)
    assert not encoder.padding_safe
    assert (encoder.frame_shift, encoder.output_size()) == (160, width)
    feats, lengths = encoder(*pad(wavs))
    for row, wav, length in zip(feats, wavs, lengths.tolist(), strict=True):
        assert length == (len(wav) - 400) // 160 + 1
        assert torch.equal(row[:length], encoder.upstream.expert([wav])["hidden_states"][0][0])
        assert not row[length:].any()
    shortest, frames = encoder(torch.randn(1, 400), torch.tensor([400]))
    assert frames.tolist() == [3] and shortest.isfinite().all()  # as 0.05 s


def test_fbank_cannot_hear_loudness_but_fbank_no_cmvn_can(wavs):
    length = torch.tensor([len(wavs[0])])
    for name, hears in (("fbank", False), ("fbank_no_cmvn", True)):
        encoder = S3PRLEncoder(name)
        soft, loud = (encoder(wavs[0][None] * scale, length)[0] for scale in (1.0, 4.0))
        assert ((soft - loud).abs().max() > 0.1) == hears


def test_upstream_args_reach_s3prl(tmp_path, wavs):
    config = tmp_path / "mel.yaml"
    config.write_text(
        "kaldi: {feat_type: fbank, fbank: {num_mel_bins: 23, frame_shift: 20.0}}\n"
        "delta: {order: 0}\ncmvn: {use_cmvn: false}\n"
    )
    encoder = S3PRLEncoder("baseline_local", upstream_args={"model_config": str(config)})
    feats, lengths = encoder(wavs[0][None], torch.tensor([len(wavs[0])]))
    assert feats.shape == (1, (20801 - 400) // 320 + 1, 23) and encoder.frame_shift == 320


@pytest.mark.parametrize("layer", [4, "4", -1, "first", 1.0, True, None])
def test_unknown_layer(tmp_path, make_model, layer):
    make_model(tmp_path)
    with pytest.raises(
        SecError, match=f"--layer {layer}: .*(0 to 3|must be a number from 0, last, all or weighted_sum)"
    ):
        S3PRLEncoder("hf_hubert_custom", str(tmp_path), layer=layer)


def test_bad_batches(tmp_path, make_model):
    make_model(tmp_path)
    encoder = S3PRLEncoder("hf_hubert_custom", str(tmp_path))
    with pytest.raises(SecError, match="399 samples, the upstream needs 400"):
        encoder(torch.randn(2, 16000), torch.tensor([16000, 399]))
    with pytest.raises(SecError, match="expects waveforms"):
        encoder(torch.randn(2, 100, 80), torch.tensor([100, 90]))

import json

import pytest
import torch
from tiny_clap import SIZES, make_clap, sounds

from espnet2_secap.encoder.clap import ClapEncoder
from espnet2_secap.errors import SecError

TOLERANCE = 1e-5  # of the largest value
WINDOW = 480000  # samples: 10 s at 48 kHz


def close(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@torch.no_grad()
def reference(folder, model, wave):
    """Frames (32, D) by transformers' own front-end, of a waveform of at most 10 s."""
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor.from_pretrained(folder)
    mels = extractor(wave.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")["input_features"]
    longer = torch.zeros(1, 1, dtype=torch.bool)
    return model(input_features=mels.float(), is_longer=longer).last_hidden_state[0].mean(1).T


@pytest.mark.parametrize("kind", ["ClapModel", "ClapAudioModel", "ClapAudioModelWithProjection"])
@pytest.mark.parametrize("padding", ["repeatpad", "pad", "repeat"])
def test_frames_are_those_of_transformers(tmp_path, pad, kind, padding):
    front_end = {"sampling_rate": 48000, "frequency_min": 50, "truncation": "rand_trunc", "padding": padding}
    model = make_clap(tmp_path, kind, front_end)
    encoder = ClapEncoder(str(tmp_path)).eval()
    assert (encoder.sampling_rate, encoder.frame_shift, encoder.max_samples) == (48000, 15000, WINDOW)
    assert encoder.padding_safe and encoder.output_size() == 64
    waves = sounds(1.3, 4.0, 10.0)
    feats, lengths = encoder(*pad(waves))
    assert lengths.tolist() == [32, 32, 32]
    for row, wave in zip(feats, waves, strict=True):
        close(row, reference(tmp_path, model, wave))
        close(encoder(wave[None], torch.tensor([len(wave)]))[0][0], row)


def test_a_model_with_fusion(tmp_path, pad):
    front_end = {"sampling_rate": 48000, "frequency_min": 50, "truncation": "fusion"}
    model = make_clap(tmp_path, "ClapModel", front_end, enable_fusion=True)
    waves = sounds(1.3, 4.0)
    feats, _ = ClapEncoder(str(tmp_path)).eval()(*pad(waves))
    for row, wave in zip(feats, waves, strict=True):
        close(row, reference(tmp_path, model, wave))


def test_of_longer_audio_the_start_or_all_of_it_in_windows(tmp_path, pad):
    model = make_clap(tmp_path)
    waves = sounds(3.0, 24.0)
    feats, lengths = ClapEncoder(str(tmp_path)).eval()(*pad(waves))
    assert lengths.tolist() == [32, 32]
    close(feats[1], reference(tmp_path, model, waves[1][:WINDOW]))
    encoder = ClapEncoder(str(tmp_path), windows=True).eval()
    assert encoder.max_samples is None
    feats, lengths = encoder(*pad(waves))
    assert lengths.tolist() == [10, 77]  # ceil(3 s / 312.5 ms), 32 + 32 + ceil(4 s / 312.5 ms)
    close(feats[0, :10], reference(tmp_path, model, waves[0])[:10])
    assert not feats[0, 10:].any()
    pieces = [reference(tmp_path, model, piece) for piece in waves[1].split(WINDOW)]
    close(feats[1], torch.cat(pieces)[:77])
    exact, (frames,) = encoder(waves[1][None, :WINDOW], torch.tensor([WINDOW]))
    assert frames == exact.size(1) == 32
    one, (frames,) = encoder(waves[1][None, : encoder.min_samples], torch.tensor([encoder.min_samples]))
    assert frames == one.size(1) == 1


def test_rows_repeat_frames(tmp_path, pad):
    make_clap(tmp_path)
    waves = sounds(3.0, 12.0)
    once, _ = ClapEncoder(str(tmp_path), windows=True).eval()(*pad(waves))
    encoder = ClapEncoder(str(tmp_path), windows=True, repeat=32).eval()
    rows, lengths = encoder(*pad(waves))
    assert lengths.tolist() == [308, 1229]  # ceil(samples / 468.75)
    assert torch.equal(rows[1], once[1].repeat_interleave(32, 0)[:1229])
    whole, lengths = ClapEncoder(str(tmp_path), repeat=32).eval()(*pad(waves))
    assert lengths.tolist() == [1024, 1024] and torch.equal(whole[0, ::32], whole[0, 31::32])


def test_other_sizes(tmp_path, pad):
    """Frames and width follow from the model's sizes: 2 pieces of an image of 64 x 64, whose patches end as 8 x 8."""
    front_end = {
        "feature_size": 32, "sampling_rate": 16000, "hop_length": 512, "max_length_s": 4, "fft_window_size": 512,
        "frequency_max": 8000, "truncation": "rand_trunc",
    }  # fmt: skip
    sizes = {
        "num_mel_bins": 32, "spec_size": 64, "patch_embeds_hidden_size": 6, "hidden_size": 12, "depths": [2, 1],
        "num_attention_heads": [2, 3], "window_size": 4,
    }  # fmt: skip
    model = make_clap(tmp_path, "ClapAudioModel", front_end, **sizes)
    encoder = ClapEncoder(str(tmp_path)).eval()
    assert (encoder.sampling_rate, encoder.output_size(), encoder.frame_shift) == (16000, 12, 4000)
    (wave,) = sounds(2.5, rate=16000)
    feats, (frames,) = encoder(wave[None], torch.tensor([len(wave)]))
    assert frames == 16
    close(feats[0], reference(tmp_path, model, wave))


def test_filled_up_to_the_longest_of_the_batch_only(tmp_path, pad):
    """The released code's own way, for comparison; by default the others do not matter."""
    make_clap(tmp_path, front_end={})
    encoder = ClapEncoder(str(tmp_path), front_end="released", fill="batch").eval()
    assert not encoder.padding_safe and encoder.sampling_rate == 32000
    waves = sounds(1.3, 4.0, rate=32000)
    together, _ = encoder(*pad(waves))
    alone, _ = encoder(waves[0][None], torch.tensor([len(waves[0])]))
    filled = torch.nn.functional.pad(waves[0], (0, len(waves[1]) - len(waves[0])))
    close(together[0], encoder(filled[None], torch.tensor([len(filled)]))[0][0])
    assert (together[0] - alone[0]).abs().max() > 0.01 * alone.abs().max()


def test_frozen_whatever_the_mode(tmp_path, pad):
    model = make_clap(tmp_path, drop_path_rate=0.5)
    encoder = ClapEncoder(str(tmp_path)).train()
    waves = sounds(1.3, 4.0)
    with torch.autocast("cpu", torch.bfloat16):
        feats, _ = encoder.to(torch.float32)(*pad(waves))
    assert feats.dtype == torch.float32 and not feats.requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())
    close(feats[1], reference(tmp_path, model, waves[1]))


def test_trained(tmp_path, pad):
    from espnet2_secap.model.checkpoint import leave_out_frozen

    make_clap(tmp_path)
    encoder = ClapEncoder(str(tmp_path), freeze=False)
    leave_out_frozen(encoder)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert "model.module.audio_encoder.batch_norm.running_mean" in before, "statistics change, too"
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.01)
    encoder.train()(*pad(sounds(1.3, 4.0)))[0].square().mean().backward()
    optimizer.step()
    after = encoder.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert "model.module.audio_encoder.patch_embed.proj.weight" in changed
    assert "model.module.audio_encoder.batch_norm.running_var" in changed
    other = ClapEncoder(str(tmp_path), freeze=False)
    leave_out_frozen(other)
    other.load_state_dict(after)
    waves = pad(sounds(2.0))
    assert torch.equal(encoder.eval()(*waves)[0], other.eval()(*waves)[0])
    frozen = ClapEncoder(str(tmp_path))
    leave_out_frozen(frozen)
    assert not frozen.state_dict()


def test_folders_without_an_audio_model(tmp_path, tiny_bert):
    import transformers
    from tiny_clap import TEXT

    text = transformers.ClapTextModel(transformers.ClapTextConfig(**TEXT))
    text.save_pretrained(tmp_path / "text")
    with pytest.raises(SecError, match="text: holds ClapTextModel, which has no audio part; give one of ClapModel"):
        ClapEncoder(str(tmp_path / "text"))
    with pytest.raises(SecError, match="model_type 'bert', encoder: clap reads CLAP models, such as laion/clap"):
        ClapEncoder(tiny_bert)
    with pytest.raises(SecError, match="no/where/to: no such folder"):
        ClapEncoder("no/where/to")


def test_front_ends_that_do_not_fit(tmp_path):
    make_clap(tmp_path, front_end={})
    with pytest.raises(SecError, match="its front-end cannot be read.*set encoder_conf front_end: released"):
        ClapEncoder(str(tmp_path))
    assert ClapEncoder(str(tmp_path), front_end="released").sampling_rate == 32000
    given = {"feature_extractor_type": "ClapFeatureExtractor", "frequency_min": 50, "truncation": "rand_trunc"}
    for changes, message in (
        ({"sampling_rate": 16000}, "mel bands up to 14000 Hz, and audio at its sampling rate of 16000 Hz has 8000 Hz"),
        ({"feature_size": 80}, "its front-end gives 80 mel bands, the model reads 64"),
        ({"max_length_s": 30}, "gives 3001 frames for a window, the model reads 1024 at most"),
        ({"padding": "reflect"}, "padding 'reflect' in its preprocessor_config.json: must be one of pad, repeat"),
    ):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(given | changes))
        with pytest.raises(SecError, match=message):
            ClapEncoder(str(tmp_path))
    with pytest.raises(SecError, match="windows: true fills the last window; leave out fill: batch"):
        ClapEncoder(str(tmp_path), windows=True, fill="batch")


def test_the_rate_is_known_before_anything_is_loaded(tmp_path):
    make_clap(tmp_path)
    assert ClapEncoder.rate_of({"path": str(tmp_path)}) == 48000 == ClapEncoder(str(tmp_path)).sampling_rate
    assert ClapEncoder.rate_of({"path": str(tmp_path), "front_end": "released"}) == 32000
    assert ClapEncoder.rate_of({"path": "laion/clap-htsat-unfused"}) is None is ClapEncoder.rate_of({})
    (tmp_path / "preprocessor_config.json").write_text("[]")
    assert ClapEncoder.rate_of({"path": str(tmp_path)}) is None


def test_bad_batches(tmp_path):
    make_clap(tmp_path)
    encoder = ClapEncoder(str(tmp_path))
    with pytest.raises(SecError, match="512 samples, the CLAP model needs 513"):
        encoder(torch.randn(2, 48000), torch.tensor([48000, 512]))
    with pytest.raises(SecError, match="expects waveforms"):
        encoder(torch.randn(2, 100, 80), torch.tensor([100, 90]))


def test_weights_that_are_missing(tmp_path):
    from safetensors.torch import load_file, save_file

    make_clap(tmp_path, "ClapModel")
    state = load_file(tmp_path / "model.safetensors")
    text = {key: value for key, value in state.items() if not key.startswith("audio_model.")}
    save_file(text, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SecError, match="its weights are not those of ClapModel.*missing: audio_model"):
        ClapEncoder(str(tmp_path))
    assert len(SIZES["depths"]) == 4

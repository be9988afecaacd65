import pytest
import torch
from tiny_clap import SIZES, make_clap
from tiny_htsat_bart import OTHER, audio_state

from espnet2_secap.errors import SecError
from espnet2_secap.publish.htsat_keys import audio_sizes, audio_tensors, our_name, their_name


def test_names():
    for theirs, ours in (
        ("bn0.weight", "audio_encoder.batch_norm.weight"),
        ("patch_embed.proj.bias", "audio_encoder.patch_embed.proj.bias"),
        ("layers.2.blocks.5.norm1.bias", "audio_encoder.layers.2.blocks.5.layernorm_before.bias"),
        ("layers.2.blocks.5.norm2.weight", "audio_encoder.layers.2.blocks.5.layernorm_after.weight"),
        ("layers.0.blocks.1.attn.proj.weight", "audio_encoder.layers.0.blocks.1.attention.output.dense.weight"),
        ("layers.0.blocks.1.mlp.fc1.bias", "audio_encoder.layers.0.blocks.1.intermediate.dense.bias"),
        ("layers.0.blocks.1.mlp.fc2.bias", "audio_encoder.layers.0.blocks.1.output.dense.bias"),
        (
            "layers.3.blocks.0.attn.relative_position_bias_table",
            "audio_encoder.layers.3.blocks.0.attention.self.relative_position_bias_table",
        ),
        ("layers.1.downsample.norm.weight", "audio_encoder.layers.1.downsample.norm.weight"),
        ("norm.bias", "audio_encoder.norm.bias"),
    ):
        assert our_name(theirs) == ours and their_name(ours) == f"encoder.audio_enc.{theirs}"
    for part in ("query", "key", "value"):
        ours = f"audio_encoder.layers.0.blocks.0.attention.self.{part}.bias"
        assert their_name(ours) == "encoder.audio_enc.layers.0.blocks.0.attn.qkv.bias"


def test_query_key_and_value_are_parted():
    state = {"encoder.audio_enc.layers.0.blocks.0.attn.qkv.bias": torch.arange(6), "decoder.x": torch.zeros(1)}
    stem = "audio_encoder.layers.0.blocks.0.attention.self"
    found = {key: value.tolist() for key, value in audio_tensors(state).items()}
    assert found == {f"{stem}.query.bias": [0, 1], f"{stem}.key.bias": [2, 3], f"{stem}.value.bias": [4, 5]}


@pytest.mark.parametrize("sizes", [SIZES, OTHER])
def test_sizes_and_tensors_are_found_again(tmp_path, sizes):
    audio = make_clap(tmp_path, "ClapAudioModel", {}, **sizes)
    state = audio_state(audio)
    found = audio_sizes(state, "x")
    for name in ("depths", "num_attention_heads"):
        assert list(found[name]) == list(getattr(audio.config, name))
    for name in (
        "spec_size", "num_mel_bins", "patch_embeds_hidden_size", "patch_size", "window_size", "hidden_size", "mlp_ratio"
    ):  # fmt: skip
        assert found[name] == getattr(audio.config, name), name
    back = audio_tensors(state)
    assert back.keys() == audio.state_dict().keys()
    assert all(torch.equal(value, back[key]) for key, value in audio.state_dict().items())


def test_another_encoder():
    state = {"encoder.audio_enc.conv_block1.conv1.weight": torch.zeros(1)}  # Cnn14
    with pytest.raises(SecError, match="c.pt: its encoder is no HTSAT .encoder.audio_enc.patch_embed.proj.weight is"):
        audio_sizes(state, "c.pt")

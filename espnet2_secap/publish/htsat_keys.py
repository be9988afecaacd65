"""The HTSAT of the released WavCaps captioning code and transformers' ClapAudioModel: names of tensors, and sizes."""

import re
from collections.abc import Mapping
from math import isqrt

import torch

from espnet2_secap.errors import SecError

AUDIO = "encoder.audio_enc."
OURS = "audio_encoder."
PARTS_OF_QKV = ("query", "key", "value")
QKV = re.compile(r"\.attn\.qkv\.(weight|bias)$")
# Names within the two models; the longer ones of ours first, since some hold others.
INSIDE = (
    (".attn.proj.", ".attention.output.dense."),
    (".attn.relative_position_", ".attention.self.relative_position_"),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)
# What the model computes by itself, its front-end, and the head for AudioSet's classes, which the captions do not see.
LEFT_OUT = re.compile(r"\.attn_mask$|^(audio_feats_extractor|spec_augmenter|tscam_conv|head)\.")
LAYER = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.")


def audio_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a released checkpoint's HTSAT under the names of ClapAudioModel."""
    output = {}
    for name, value in state.items():
        key = name.removeprefix(AUDIO)
        if key == name or LEFT_OUT.search(key):
            continue
        found = QKV.search(key)
        names = [our_name(key)]
        if found:
            names = [our_name(QKV.sub(f".attention.self.{part}.{found[1]}", key)) for part in PARTS_OF_QKV]
        output.update(zip(names, value.chunk(len(names)) if found else [value], strict=True))
    return output


def our_name(key: str) -> str:
    """A tensor's name in HTSAT -> in ClapAudioModel; a joint tensor of query, key and value has none."""
    for theirs, ours in INSIDE:
        key = key.replace(theirs, ours)
    return OURS + re.sub(r"^bn0\.", "batch_norm.", key)


def their_name(key: str) -> str:
    """The way back, to the name in a released checkpoint."""
    key = re.sub(r"\.attention\.self\.(query|key|value)\.", ".attn.qkv.", key.removeprefix(OURS))
    for theirs, ours in INSIDE:
        key = key.replace(ours, theirs)
    return AUDIO + re.sub(r"^batch_norm\.", "bn0.", key)


def audio_sizes(state: Mapping[str, torch.Tensor], path: str) -> dict:
    """The arguments of ClapAudioConfig for a released checkpoint, read from its tensors.

    The patches' stride is their size, as in all HTSAT models. Dropout is HTSAT's: none, but for a drop path of 0.1.

    Args:
        state: of the whole model.
        path: the file, for messages.

    Raises:
        SecError: it is no HTSAT.
    """
    audio = {key.removeprefix(AUDIO): value for key, value in state.items() if key.startswith(AUDIO)}
    try:
        patches = audio["patch_embed.proj.weight"].shape  # (channels, 1, P, P)
        blocks = [tuple(map(int, found.groups())) for key in audio if (found := LAYER.match(key))]
        stages = max(stage for stage, _ in blocks) + 1
        depths = [max((block for at, block in blocks if at == stage), default=-1) + 1 for stage in range(stages)]
        tables = [audio[f"layers.{i}.blocks.0.attn.relative_position_bias_table"].shape for i in range(stages)]
        window = (isqrt(tables[0][0]) + 1) // 2  # a table has (2 window - 1)^2 rows
        mlp = audio["layers.0.blocks.0.mlp.fc1.weight"].shape
        bands = len(audio["bn0.weight"])
    except (KeyError, IndexError, ValueError) as err:
        raise SecError(
            f"{path}: its encoder is no HTSAT ({AUDIO}{err.args[0]} is absent or has another form); give a HTSAT-BART"
            " of the WavCaps captioning code"
        ) from err
    # The mask of a shifted block has a row for each window; without any, the last stage is one window.
    masks = [(int(key.split(".")[1]), len(value)) for key, value in audio.items() if key.endswith(".attn_mask")]
    stage, count = min(masks, default=(stages - 1, 1))
    return {
        "spec_size": isqrt(count) * window * 2**stage * patches[2],
        "num_mel_bins": bands,
        "patch_embeds_hidden_size": patches[0],
        "patch_embed_input_channels": patches[1],
        "patch_size": patches[2],
        "patch_stride": [patches[2], patches[3]],
        "window_size": window,
        "depths": depths,
        "num_attention_heads": [table[1] for table in tables],
        "hidden_size": patches[0] * 2 ** (stages - 1),
        "mlp_ratio": mlp[0] / mlp[1],
        "qkv_bias": "layers.0.blocks.0.attn.qkv.bias" in audio,
        "enable_patch_layer_norm": "patch_embed.norm.weight" in audio,
        "enable_fusion": False,
        "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.1,
    }

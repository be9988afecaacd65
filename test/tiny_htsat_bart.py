"""A checkpoint in the format of the released WavCaps captioning code, of a random CLAP audio model and BART."""

import torch

from espnet2_secap.publish.htsat_keys import their_name

SETTINGS = {"sr": 32000, "n_fft": 1024, "hop_length": 320, "f_min": 50, "f_max": 14000, "n_mels": 64, "max_length": 10}
# Other sizes than the released ones throughout: 3 stages, 24 mel bins, 24 x 24 patches of 2 x 2 in windows of 6 x 6.
OTHER = {
    "patch_embeds_hidden_size": 6, "hidden_size": 24, "depths": [2, 4, 2], "num_attention_heads": [1, 2, 3],
    "num_mel_bins": 24, "spec_size": 48, "patch_size": 2, "patch_stride": [2, 2], "window_size": 6, "mlp_ratio": 2.0,
}  # fmt: skip
OTHER_SETTINGS = {
    "sr": 16000, "n_fft": 512, "hop_length": 256, "f_min": 20, "f_max": 7000, "n_mels": 24, "max_length": 0.75
}  # fmt: skip


def audio_state(audio) -> dict[str, torch.Tensor]:
    """The tensors of a ClapAudioModel as the released code names them, and what it stores besides."""
    output, joint = {}, {}
    for key, value in audio.state_dict().items():
        name = their_name(key)
        (joint.setdefault(name, []) if ".attn.qkv." in name else output.setdefault(name, [])).append(value)
    # query, key and value stand in this order in a state_dict only by luck
    for name in joint:
        stem, end = name.removeprefix("encoder.audio_enc.").split(".attn.qkv.")
        parts = (f"audio_encoder.{stem}.attention.self.{part}.{end}" for part in ("query", "key", "value"))
        joint[name] = [torch.cat([audio.state_dict()[part] for part in parts])]
    state = {name: value for name, (value,) in (output | joint).items()}
    config = audio.config
    side = config.spec_size // config.patch_stride[-1]
    for stage, depth in enumerate(config.depths):
        count = (side // 2**stage // config.window_size) ** 2
        for block in range(1, depth, 2) if count > 1 else ():
            mask = torch.zeros(count, config.window_size**2, config.window_size**2)
            state[f"encoder.audio_enc.layers.{stage}.blocks.{block}.attn_mask"] = mask
    state["encoder.audio_enc.head.weight"] = torch.randn(5, 5)
    return state


def make_checkpoint(path, audio, bart, settings=SETTINGS, **changes):
    """Write one; returns the linear layer between the two. `changes` are tensors to set, or None to leave one out."""
    torch.manual_seed(1)
    linear = torch.nn.Linear(audio.audio_encoder.num_features, bart.config.d_model)
    state = audio_state(audio)
    state |= {f"enc_to_dec_proj.{key}": value for key, value in linear.state_dict().items()}
    state |= {f"decoder.{key}": value for key, value in bart.state_dict().items()}
    state |= changes
    state = {key: value for key, value in state.items() if value is not None}
    torch.save({"model": state, "optimizer": {}, "epoch": 3, "config": {"audio_args": settings}}, path)
    return linear

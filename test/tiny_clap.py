"""Tiny random audio models of CLAP, in the format of transformers."""

import torch

SIZES = {
    "patch_embeds_hidden_size": 8,
    "hidden_size": 64,
    "depths": [2, 2, 2, 2],
    "num_attention_heads": [1, 2, 4, 8],
    "num_mel_bins": 64,
    "spec_size": 256,
    "projection_dim": 16,
    "hidden_dropout_prob": 0.0,
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 50}
UNFUSED = {"sampling_rate": 48000, "frequency_min": 50, "truncation": "rand_trunc"}  # laion/clap-htsat-unfused


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every tensor random, norms, biases and statistics too, so that each of them counts."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(0.1 * torch.randn(value.shape, generator=noise))
            if name.endswith("running_var"):
                value.abs_().add_(100.0)  # of decibels
            if name.endswith("running_mean"):
                value.sub_(40.0)
    return model.eval()


def make_clap(folder, kind="ClapModel", front_end=None, **changes):
    """A model saved in `folder` with its front-end (None: laion's, {}: no file); returns its ClapAudioModel."""
    import transformers

    torch.manual_seed(0)
    config = transformers.ClapAudioConfig(**(SIZES | changes))
    if kind == "ClapModel":
        text = transformers.ClapTextConfig(**TEXT, projection_dim=16)
        made = transformers.ClapConfig(text_config=text.to_dict(), audio_config=config.to_dict(), projection_dim=16)
        model = transformers.ClapModel(made)
    else:
        model = getattr(transformers, kind)(config)
    randomise(model).save_pretrained(folder)
    front_end = UNFUSED if front_end is None else front_end
    if front_end:
        bands = config.num_mel_bins
        transformers.ClapFeatureExtractor(**({"feature_size": bands} | front_end)).save_pretrained(folder)
    return getattr(model, "audio_model", model)


def sounds(*seconds: float, rate: int = 48000) -> list[torch.Tensor]:
    """A gliding tone in noise for each number of seconds, with a second of silence at the end of the longer ones."""
    noise = torch.Generator().manual_seed(3)
    output = []
    for number, length in enumerate(seconds):
        time = torch.arange(round(length * rate)) / rate
        wave = 0.3 * torch.sin(6.28 * (200 + 150 * number + 400 * time) * time)
        wave += 0.02 * torch.randn(len(time), generator=noise)
        output.append(torch.where(time < max(1.0, length - 1), wave, torch.zeros(())))
    return output

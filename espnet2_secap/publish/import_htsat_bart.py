"""A released HTSAT-BART of the WavCaps captioning code (github XinhaoMei/WavCaps) as an experiment of ours."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from espnet2_secap.data.conf import dump_yaml
from espnet2_secap.data.io import atomic_write, make_dir
from espnet2_secap.encoder.clap_front_end import RELEASED, ClapFrontEnd
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import read_tensors
from espnet2_secap.pretrained import load_pretrained
from espnet2_secap.publish.htsat_keys import AUDIO, audio_sizes, audio_tensors, their_name
from espnet2_secap.publish.import_secap import companions, faults
from espnet2_secap.tasks.experiment import portable
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.tokenizer import build_tokenizer, check_vocabulary

DECODER, PROJECTION = "decoder.", "enc_to_dec_proj."
ROWS_PER_STRIDE = 8  # the released code repeats each frame so many times the patches' stride: 32 for HTSAT
# Names of audio_args in a checkpoint's settings -> arguments of ClapFeatureExtractor.
SETTINGS = {
    "sr": "sampling_rate", "n_fft": "fft_window_size", "hop_length": "hop_length", "f_min": "frequency_min",
    "f_max": "frequency_max", "max_length": "max_length_s",
}  # fmt: skip
SAME = 1e-5  # largest difference between stored front-end kernels and the formulas
KERNELS = f"{AUDIO}audio_feats_extractor."


def read_checkpoint(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors of a released checkpoint, and its settings ({} where it has none).

    Raises:
        SecError: it is something else.
    """
    content = read_tensors(path, "checkpoint")
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise SecError(
            f"{path}: not a checkpoint of the WavCaps captioning code: expected its tensors under 'model'; give"
            " best_model.pt or a file like it"
        )
    settings = content.get("config")
    return state, settings if isinstance(settings, dict) else {}


def feature_extractor(settings: Mapping, bands: int):
    """The front-end of a checkpoint as a ClapFeatureExtractor: its settings, or those of all released ones."""
    from transformers import ClapFeatureExtractor

    given = settings.get("audio_args")
    given = given if isinstance(given, Mapping) else {}
    told = {ours: given[theirs] for theirs, ours in SETTINGS.items() if given.get(theirs)}  # max_length 0: not told
    return ClapFeatureExtractor(feature_size=bands, **(RELEASED | told))


def kernel_faults(state: Mapping[str, torch.Tensor], front_end: ClapFrontEnd) -> list[str]:
    """Where the STFT and the mel bands that a checkpoint stores are not those that the front-end computes."""
    n = front_end.n_fft
    angles = 2 * torch.pi * torch.outer(torch.arange(n // 2 + 1.0), torch.arange(float(n))).remainder(n).double() / n
    window = torch.hann_window(n, dtype=torch.float64)
    expected = {
        "mel_trans.stft.conv_real.weight": (angles.cos() * window)[:, None],
        "mel_trans.stft.conv_imag.weight": (-angles.sin() * window)[:, None],
        "log_trans.melW": front_end.filters,
    }
    output = []
    for name, value in expected.items():
        found = state.get(KERNELS + name)
        if found is not None and (found.shape != value.shape or (found - value).abs().max() > SAME):
            output.append(f"{KERNELS}{name} is not that of its settings (audio_args)")
    return output


def import_htsat_bart(checkpoint: str | Path, bart: str, output: str | Path) -> dict:
    """Write an experiment folder from a released checkpoint.

    It gets config.yaml (raw audio through HTSAT; `sec_inference`, `sec_caption` and `sec_train` take it); clap/ and
    bart/, transformers folders with the checkpoint's weights; and valid.loss.best.pth with the linear layer between
    them. All sizes are read from the checkpoint's tensors, but for BART's, which its folder's config.json tells.

    Args:
        checkpoint: best_model.pt, ac_best_model.pt, ...
        bart: folder or hub name of the BART, for its configuration and tokenizer; its weights are not used.
        output: folder to make.

    Returns:
        sizes of the HTSAT: arguments of ClapAudioConfig.

    Raises:
        SecError: missing, left-over or misfitting keys, all of them listed; nothing is written then.
    """
    from transformers import AutoModelForSeq2SeqLM, ClapAudioConfig, ClapAudioModel

    state, settings = read_checkpoint(checkpoint)
    sizes = audio_sizes(state, str(checkpoint))
    extractor = feature_extractor(settings, sizes["num_mel_bins"])
    wrong = kernel_faults(state, ClapFrontEnd(extractor, str(checkpoint)))
    htsat = ClapAudioModel(ClapAudioConfig(**sizes))
    audio = audio_tensors(state)
    wrong += dict.fromkeys(their_name(fault) for fault in faults(audio, htsat.state_dict()))
    config = load_pretrained("AutoConfig", bart, "--bart")
    if not config.is_encoder_decoder:
        raise SecError(f"--bart {bart}: {config.model_type} is no encoder-decoder; give the BART of the checkpoint")
    lm = AutoModelForSeq2SeqLM.from_config(config)
    check_vocabulary(build_tokenizer(bart), lm.get_input_embeddings().num_embeddings, bart, "--bart", special=False)
    decoder = {key.removeprefix(DECODER): value for key, value in state.items() if key.startswith(DECODER)}
    wrong += [DECODER + fault for fault in faults(decoder, lm.state_dict())]
    wrong += _untied(decoder, lm)
    width, embedding = htsat.audio_encoder.num_features, lm.get_input_embeddings().weight.size(1)
    with torch.device("meta"):
        projection = torch.nn.Linear(width, embedding).state_dict()
    linear = {key.removeprefix(PROJECTION): value for key, value in state.items() if key.startswith(PROJECTION)}
    wrong += [PROJECTION + fault for fault in faults(linear, projection)]
    wrong += [f"{key} is left over" for key in state if not key.startswith((AUDIO, DECODER, PROJECTION))]
    if wrong:
        raise SecError(f"{checkpoint}: does not fit: {'; '.join(wrong)}")
    htsat.load_state_dict(audio)
    lm.load_state_dict(decoder)
    _write(Path(output), htsat, extractor, lm, bart, linear)
    return sizes


def _untied(decoder: Mapping[str, torch.Tensor], lm) -> list[str]:
    """Tensors that are one in the LM and differ in the checkpoint."""
    first: dict[int, str] = {}
    output = []
    for key, value in lm.state_dict(keep_vars=True).items():
        other = first.setdefault(id(value), key)
        if key in decoder and other in decoder and not torch.equal(decoder[key], decoder[other]):
            output.append(f"{DECODER}{key} differs from {DECODER}{other}, with which it is one in this BART")
    return output


def _write(output: Path, htsat, extractor, lm, bart: str, linear: Mapping[str, torch.Tensor]) -> None:
    """The experiment folder; what names it as one, config.yaml, comes last."""
    files = companions(bart)
    make_dir(output)
    htsat.save_pretrained(output / "clap")
    extractor.save_pretrained(output / "clap")
    lm.save_pretrained(output / "bart")
    for file in files:
        if file.resolve().parent != (output / "bart").resolve():
            shutil.copy(file, output / "bart" / file.name)
    width = htsat.audio_encoder.num_features
    # The released chain has one linear layer: the bridge passes frames on, and the projection is that layer.
    trained = {"bridge.linear.weight": torch.eye(width), "bridge.linear.bias": torch.zeros(width)}
    trained |= {f"projection.{key}": value.float().clone() for key, value in linear.items()}
    with atomic_write(output / "valid.loss.best.pth", "wb") as file:
        torch.save(trained, file)
    encoder = {
        "path": str(output / "clap"),
        "repeat": ROWS_PER_STRIDE * htsat.config.patch_stride[-1],
    }
    config = {
        "model": "caption",
        "encoder": "clap",
        "encoder_conf": encoder,
        "front_end": {
            "encoder": "clap",
            "encoder_conf": encoder,
            "sampling_rate": extractor.sampling_rate,
            "dtype": "float32",
            "max_seconds": extractor.max_length_s,  # what is longer is captioned in pieces
        },
        "bridge": "linear",
        "bridge_conf": {"hidden_size": width},
        "decoder": "seq2seq",
        "decoder_conf": {"path": str(output / "bart")},
        "template_conf": {"order": ["queries"]},
    }
    args = SECTask.defaults() | config
    args.pop("config", None)
    with atomic_write(output / "config.yaml") as file:
        dump_yaml(portable(args, output), file)

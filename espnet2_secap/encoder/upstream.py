"""Loading of S3PRL's upstreams, and one face for them all: layers and lengths as each model means them.

S3PRL 0.4.18 has a wrapper of its own, `s3prl.nn.S3PRLUpstream`. It is not used, for three reasons:
- its frames are ceil(samples / shift), the last one repeated where the model has fewer (HuBERT: 100 for
  32,000 samples instead of 99; filterbanks: 100 for a second instead of 98);
- for transformers' models it returns `hidden_states`, whose last entry since transformers 5 is the value
  before the final layer norm in models that have one (`do_stable_layer_norm`);
- importing it imports every upstream, ESPnet's tasks among them: 10 s per process.
So we call the entry of S3PRL's hub that makes the upstream, and run the upstream itself.
"""

import contextlib
import difflib
import importlib
import importlib.util
import logging
import math
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from espnet2_secap.errors import SecError, listed
from espnet2_secap.model_folder import check_model_folder
from espnet2_secap.pretrained import complete_weights, is_hub_name
from espnet2_secap.safe_load import UnsafeFile, tensors_only

FS = 16000  # samples per second of every upstream
SHORTEST = 800  # S3PRL lengthens anything shorter than 0.05 s by zeros: some upstreams need it
TRANSFORMERS = {"hf_hubert_custom": "HubertModel", "hf_wav2vec2_custom": "Wav2Vec2Model"}


class Upstream(torch.nn.Module):
    """A frozen upstream of S3PRL: always in evaluation mode, nothing to train, not part of checkpoints.

    Attributes:
        sizes: width of each layer; index 0 is the input of the first layer, the last one its output.
        frame_shift: samples from one frame to the next.
        min_samples: shortest utterance that gives a frame.
        padding_safe: whether an utterance gets the same features in a padded batch as alone.
    """

    is_named_pretrained = True
    sizes: list[int]
    frame_shift: int
    min_samples: int
    padding_safe: bool

    def __init__(self, expert: torch.nn.Module):
        super().__init__()
        self.expert = expert.float().requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Upstream":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, wavs: list[torch.Tensor], layers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms, each (samples,) float32, -> the chosen layers (B, T, L, D), lengths in frames (B,)."""
        raise NotImplementedError


class TransformersUpstream(Upstream):
    """HuBERT or wav2vec 2.0 in transformers' format.

    Layer k is the output of the k-th transformer layer, 0 the input of the first, and the last one is
    `last_hidden_state`: after the encoder's final layer norm where the model has one.
    """

    def __init__(self, expert: torch.nn.Module, path: str):
        super().__init__(expert)
        config = expert.model.config
        if getattr(config, "add_adapter", False):
            raise SecError(f"{path}: has an adapter on top (add_adapter), which is not supported; remove it")
        self.sizes = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.convs = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.frame_shift = math.prod(config.conv_stride)
        self.min_samples = 1
        for kernel, stride in reversed(self.convs):
            self.min_samples = (self.min_samples - 1) * stride + kernel
        self.normalize = bool(expert.extracter.do_normalize)
        self.group_norm = None
        if config.feat_extract_norm == "group":
            first = expert.model.feature_extractor.conv_layers[0]
            first.layer_norm = self.group_norm = MaskedGroupNorm(first.layer_norm)
        # Batch norm before the positional convolution: padding is no longer zero there, while the edge of a single
        # utterance is.
        self.padding_safe = not getattr(config, "conv_pos_batch_norm", False)

    def forward(self, wavs: list[torch.Tensor], layers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Upstream.forward`; each waveform normalised by itself if the folder's preprocessor says so."""
        device = wavs[0].device
        counts = [len(wav) for wav in wavs]
        samples = torch.tensor(counts, device=device)
        batch = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)  # (B, S)
        mask = None
        if min(counts) < max(counts):
            assert self.padding_safe, "utterances of different length in one batch"
            mask = (torch.arange(batch.size(1), device=device) < samples[:, None]).long()
        if self.normalize:
            batch = zero_mean_unit_variance(batch, samples)
        if self.group_norm is not None and mask is not None:
            kernel, stride = self.convs[0]
            self.group_norm.lengths = torch.div(samples - kernel, stride, rounding_mode="floor") + 1
        every = len(layers) > 1 or layers[0] != len(self.sizes) - 1
        try:
            out = self.expert.model(batch, attention_mask=mask, output_hidden_states=every)
        finally:
            if self.group_norm is not None:
                self.group_norm.lengths = None
        states = dict(enumerate(out.hidden_states or ()))
        states[len(self.sizes) - 1] = out.last_hidden_state
        lengths = samples
        for kernel, stride in self.convs:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return torch.stack([states[k] for k in layers], dim=2), lengths


def zero_mean_unit_variance(batch: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Waveforms (B, S) of real lengths (B,) -> each with mean 0 and variance 1, zeros behind.

    As transformers' Wav2Vec2FeatureExtractor does it with one waveform after the other on the CPU.
    """
    mask = torch.arange(batch.size(1), device=batch.device) < lengths[:, None]
    count = lengths[:, None].to(batch.dtype)
    centred = (batch - (batch * mask).sum(1, keepdim=True) / count) * mask
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / (variance + 1e-7).sqrt()


class MaskedGroupNorm(torch.nn.Module):
    """A group norm of one channel per group whose statistics leave padding out.

    Args:
        norm: what it stands for; with `lengths` None it is that one.

    Attributes:
        lengths: real frames (B,) of the batch that comes next.
    """

    def __init__(self, norm: torch.nn.GroupNorm):
        super().__init__()
        self.norm = norm
        self.lengths: torch.Tensor | None = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> the same, normalised over the real frames of each channel."""
        if self.lengths is None:
            return self.norm(hidden)
        mask = torch.arange(hidden.size(2), device=hidden.device) < self.lengths[:, None, None]  # (B, 1, T)
        count = self.lengths[:, None, None].to(hidden.dtype)
        hidden = hidden - (hidden * mask).sum(2, keepdim=True) / count
        variance = (hidden * mask).square().sum(2, keepdim=True) / count
        scale = self.norm.weight[:, None] * (variance + self.norm.eps).rsqrt()  # (B, C, 1)
        return torch.addcmul(self.norm.bias[:, None], hidden, scale)


class OtherUpstream(Upstream):
    """Any other upstream of S3PRL: its own hidden states, with as many frames as it computes.

    Nothing is known of what padding does to it, so a batch holds utterances of one length only.
    """

    padding_safe = False
    min_samples = 1

    def __init__(self, expert: torch.nn.Module):
        super().__init__(expert)
        noise = torch.randn(FS, generator=torch.Generator().manual_seed(0)) * 0.1
        with torch.no_grad():
            self.sizes = [state.size(-1) for state in expert([noise])["hidden_states"]]
        shift = expert.get_downsample_rates("hidden_states")
        self.frame_shift = int(shift if isinstance(shift, int) else shift[-1])

    def forward(self, wavs: list[torch.Tensor], layers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Upstream.forward`; all waveforms of one length."""
        assert len({len(wav) for wav in wavs}) == 1, "utterances of different length in one batch"
        missing = max(0, SHORTEST - len(wavs[0]))
        states = self.expert([torch.nn.functional.pad(wav, (0, missing)) for wav in wavs])["hidden_states"]
        chosen = [states[k] for k in layers]
        if len({state.shape for state in chosen}) > 1:
            raise SecError("the layers of this upstream differ in frames or width; choose one of them")
        stacked = torch.stack(chosen, dim=2)  # (B, T, L, D)
        return stacked, torch.full((len(wavs),), stacked.size(1), device=stacked.device)


def load_upstream(name: str, path: str | None = None, args: dict | None = None) -> Upstream:
    """Have S3PRL load an upstream.

    Args:
        name: entry of S3PRL's hub: hf_hubert_custom, fbank, wavlm_local, ...
        path: its checkpoint: a folder or hub name (hf_*_custom), a file (*_local), a URL (*_url); or None.
        args: further arguments of the entry.

    Raises:
        SecError: unknown name, nothing at `path`, or nothing that can be loaded without running code from it
            (see safe_load.pickles_allowed).
    """
    entry = hub_entry(name)
    if path is not None:
        path = str(Path(path).expanduser()) if path.startswith("~") else str(path)
        _check_path(name, path)
    if name in TRANSFORMERS:
        if not path or args:
            raise SecError(f"{name}: takes --upstream_path (a transformers folder or a hub name) and no other argument")
        return _load_transformers(entry, name, path)
    try:
        with tensors_only(), complete_weights(), missing_tensors_told():
            expert = entry(refresh=False, **({"ckpt": path} if path else {}), **(args or {}))
        return OtherUpstream(expert)
    except LackingWeights:
        raise
    except UnsafeFile as err:
        raise SecError(
            f"{err} (S3PRL's upstream {name!r}); if you trust its source, give sec_extract_feats "
            '--allow_pickle true (in a recipe: --extract_args "--allow_pickle true")'
        ) from err
    except Exception as err:
        raise SecError(
            f"{path or name}: S3PRL could not load its upstream {name!r} from it ({_short(err)}); "
            "check the upstream's name, path and arguments"
        ) from err


class LackingWeights(SecError):
    """A checkpoint with none of a model's tensors."""


@contextlib.contextmanager
def missing_tensors_told() -> Iterator[None]:
    """Within it, a module that is loaded with strict=False, as some upstreams are, says what it draws at random.

    Raises:
        SecError: within it: the checkpoint has no tensor of the module at all.
    """
    plain = torch.nn.Module.load_state_dict

    def load(self, state_dict, strict=True, assign=False):
        found = plain(self, state_dict, strict=strict, assign=assign)
        if not strict and found.missing_keys:
            said = f"{type(self).__name__}: its checkpoint lacks {listed(sorted(found.missing_keys))}"
            if len(found.missing_keys) == len(self.state_dict()):
                raise LackingWeights(f"--upstream: {said}, all that there is; give the checkpoint of that upstream")
            logging.warning(f"{said}; these are random numbers now")
        return found

    torch.nn.Module.load_state_dict = load
    try:
        yield
    finally:
        torch.nn.Module.load_state_dict = plain


def hub_entry(name: str) -> Callable[..., torch.nn.Module]:
    """Find an entry of S3PRL's hub, importing its module alone (`s3prl.hub` imports all of them: 10 s).

    Raises:
        SecError: as `hub_folder`.
    """
    patch_torchaudio()
    return getattr(importlib.import_module(f"s3prl.upstream.{hub_folder(name)}.hubconf"), name)


def hub_folder(name: str) -> str:
    """The folder of s3prl/upstream whose hubconf.py defines an entry of the hub; nothing is imported.

    Raises:
        SecError: S3PRL has no such upstream; names that look alike are proposed.
    """
    place = Path(importlib.util.find_spec("s3prl").origin).parent
    entries = {}
    for file in sorted((place / "upstream").glob("*/hubconf.py")):
        for found in re.findall(r"^def (\w+)\(", file.read_text(encoding="utf-8"), re.M):
            entries[found] = file.parent.name
    if name not in entries or name.startswith("_"):
        alike = difflib.get_close_matches(name, entries, n=3) or ["hf_hubert_custom", "fbank"]
        raise SecError(f"--upstream {name}: S3PRL has no such upstream; did you mean {' or '.join(alike)}?")
    return entries[name]


def patch_torchaudio() -> None:
    """Give torchaudio the two names that S3PRL 0.4.18 asks for at import and torchaudio 2.9 dropped.

    Nothing that runs here calls them; whatever does gets an error that says so.
    """
    import torchaudio

    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda backend: None
    try:
        importlib.import_module("torchaudio.sox_effects")
    except ModuleNotFoundError:

        def gone(*args, **kwargs):
            raise NotImplementedError("torchaudio has no sox_effects since its version 2.9")

        module = types.ModuleType("torchaudio.sox_effects")
        module.apply_effects_tensor = module.apply_effects_file = gone
        sys.modules[module.__name__] = torchaudio.sox_effects = module


def _check_path(name: str, path: str) -> None:
    """Say at once that a local path is not there, before anything is imported or asked of the network."""
    if "://" in path or Path(path).exists():
        return
    if name in TRANSFORMERS and "/" in path and is_hub_name(path):
        return
    raise SecError(
        f"{path}: does not exist, but {name} is to be loaded from it; run the recipe's stage that makes it, "
        "or fix --upstream_path"
    )


def _load_transformers(entry: Callable, name: str, path: str) -> TransformersUpstream:
    """Load a folder or hub name after checking what S3PRL and transformers would pass over in silence.

    S3PRL takes another model's preprocessor where this one has none, and transformers builds any model from
    any config and draws at random what the checkpoint lacks.
    """
    import transformers

    model_class = getattr(transformers, TRANSFORMERS[name])
    try:
        if Path(path).is_dir():
            check_model_folder(Path(path), f"--upstream {name}")
        kind = transformers.PreTrainedConfig.get_config_dict(path)[0].get("model_type")
        if kind is None:
            raise OSError("no config.json that says model_type")
        if kind != model_class.config_class.model_type:
            raise SecError(
                f"{path}: its config.json says model_type {kind!r}, {name} wants "
                f"{model_class.config_class.model_type!r}; give another path or --upstream"
            )
        rate = transformers.Wav2Vec2FeatureExtractor.from_pretrained(path).sampling_rate
        if rate != FS:
            raise SecError(f"{path}: its preprocessor wants {rate} Hz, only {FS} is supported; give another model")
        with tensors_only(), complete_weights():
            return TransformersUpstream(entry(path), path)
    except SecError:
        raise
    except Exception as err:
        if Path(path).exists():
            raise SecError(
                f"{path}: {name} could not be loaded from it ({_short(err)}); it must be a folder with "
                "config.json, preprocessor_config.json and the weights, as transformers saves them"
            ) from err
        raise SecError(
            f"{path}: neither a folder here nor a model that could be fetched from the hub ({_short(err)}); "
            "fetch it once with a connection, or give a folder"
        ) from err


def _short(err: Exception) -> str:
    """The first line of an error."""
    lines = str(err).strip().splitlines()
    return f"{type(err).__name__}: {lines[0][:200]}" if lines else type(err).__name__

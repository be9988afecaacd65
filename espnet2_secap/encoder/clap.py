"""HTSAT and other audio models of CLAP, by folder or hub name (SECap, Tables 2 and 3: HTSAT)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.encoder.clap_front_end import RELEASED, ClapFrontEnd
from espnet2_secap.encoder.waveforms import samples_of
from espnet2_secap.errors import SecError
from espnet2_secap.pretrained import PretrainedPart, load_pretrained
from espnet2_secap.values import Count, Place

WHAT = "encoder_conf path"
ALONE, WITHIN = ("ClapAudioModel",), ("ClapModel", "ClapAudioModelWithProjection")  # classes that have an audio model
AT_ONCE = 16  # windows that go through the front-end, or a frozen model, together


class ClapEncoder(AbsEncoder):
    """The audio model of a CLAP of transformers, such as laion/clap-htsat-unfused: `last_hidden_state`, the mean over
    frequency.

    It reads windows of one length, 10 s in all released models, and gives 32 frames for each, which cover 312.5 ms. By
    default that is the start of an utterance, and short ones are filled as the model's folder says; all 32 frames count
    as real (the published test path of HTSAT-BART; Mei et al., 2023, WavCaps).

    Args:
        path: folder or hub name of a ClapModel, ClapAudioModel or ClapAudioModelWithProjection.
        front_end: "folder": what its preprocessor_config.json says; "released": that of the released WavCaps code, at
            32 kHz, with zeros behind short audio.
        windows: True reads all of an utterance, in windows side by side. The last one is filled as a short utterance
            is; frames beyond the utterance's end are left out.
        repeat: rows of the output for each frame, all the same; HTSAT-BART has 32, 1024 rows in all.
        fill: "window": utterances are filled up to a whole window. "batch": with zeros up to the longest utterance of
            the batch, and the model stretches what it gets, so that an utterance's features depend on the others: what
            the released code does in training.
        freeze: False trains the model, and checkpoints then hold it.

    Of a model with fusion (laion/clap-htsat-fused), windows count as not longer than 10 s. A frozen model runs in
    float32 outside autocast, so that features are the same in training and in stage 3.

    Raises:
        SecError: nothing there; a CLAP without audio part, or another kind of model; a front-end that does not belong
            to it.
    """

    def __init__(
        self,
        path: Place,
        front_end: Literal["folder", "released"] = "folder",
        windows: bool = False,
        repeat: Count = 1,
        fill: Literal["window", "batch"] = "window",
        freeze: bool = True,
    ):
        super().__init__()
        if windows and fill == "batch":
            raise SecError("encoder_conf: windows: true fills the last window; leave out fill: batch")
        model = load_audio_model(path)
        sizes = model.config
        self.front_end = load_front_end(path, front_end, sizes.num_mel_bins)
        self.channels = 4 if sizes.enable_fusion else 1
        self.all_windows, self.repeat, self.fill, self.frozen = windows, repeat, fill, freeze
        self.width = model.audio_encoder.num_features
        folds = sizes.spec_size // sizes.num_mel_bins  # pieces of the spectrogram that the model's image is made of
        self.frames = folds * (sizes.spec_size // 2 ** (len(sizes.depths) - 1) // _last(sizes.patch_stride))
        if self.front_end.mel_frames > sizes.spec_size * folds:
            raise SecError(
                f"{path}: its front-end gives {self.front_end.mel_frames} frames for a window, the model reads"
                f" {sizes.spec_size * folds} at most; correct sampling_rate, hop_length or max_length_s in its"
                " preprocessor_config.json"
            )
        self.sampling_rate, self.min_samples = self.front_end.sampling_rate, self.front_end.least
        self.max_samples = None if windows else self.front_end.window_samples
        self.frame_shift = round(self.front_end.window_samples / (self.frames * repeat))
        self.padding_safe = fill == "window"
        self.model = PretrainedPart(model)
        if not freeze:
            self.model.requires_grad_(True)
            self.model.from_folder = set()  # statistics of its batch norm change, too

    @classmethod
    def rate_of(cls, conf: Mapping) -> int | None:
        """See AbsEncoder; of a hub name it is not known."""
        if conf.get("front_end") == "released":
            return RELEASED["sampling_rate"]
        file = Path(str(conf.get("path"))).expanduser() / "preprocessor_config.json"
        try:
            return int(json.loads(file.read_text(encoding="utf-8"))["sampling_rate"])
        except (OSError, ValueError, KeyError, TypeError):  # loading it says what is wrong
            return None

    def output_size(self) -> int:
        """D, the channels of the model's last layer."""
        return self.width

    def forward(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (B, samples) at `sampling_rate`, lengths (B,) in samples -> (B, T, output_size()), frames (B,)."""
        samples = samples_of(speech, speech_lengths, self.min_samples, "the CLAP model needs")
        waves = [wave[:n] for wave, n in zip(speech.float(), samples, strict=True)]
        with torch.no_grad(), torch.autocast(speech.device.type, enabled=False):
            if self.fill == "batch":
                parts = [self.front_end.together(waves)]
            else:
                parts = [self.front_end.windows(wave, None if self.all_windows else 1) for wave in waves]
            mels = torch.cat([self.front_end(some) for some in torch.cat(parts).split(AT_ONCE)])  # (N, frames, M)
            mels = mels[:, None].expand(-1, self.channels, -1, -1)
        counts = [1] * len(waves) if self.fill == "batch" else [len(part) for part in parts]
        rows = self._rows(mels).split(counts)  # of each utterance (its windows, rows of a window, D)
        if not self.all_windows:
            feats = torch.cat(rows)
            return feats, torch.full((len(feats),), feats.size(1), device=speech.device)
        per_window = self.front_end.window_samples / (self.frames * self.repeat)  # samples that a row covers
        found = [row.flatten(0, 1)[: math.ceil(n / per_window)] for row, n in zip(rows, samples, strict=True)]
        lengths = torch.tensor([len(row) for row in found], device=speech.device)
        return torch.nn.utils.rnn.pad_sequence(found, batch_first=True), lengths

    def _rows(self, mels: torch.Tensor) -> torch.Tensor:
        """Spectrograms (N, C, frames, M) -> (N, frames of the model times `repeat`, D)."""
        if self.frozen:
            with torch.no_grad(), torch.autocast(mels.device.type, enabled=False):
                maps = torch.cat([self.map(part) for part in mels.split(AT_ONCE)])
        else:
            maps = self.map(mels)  # all at once: batch norm's statistics are those of the batch
        return maps.mean(2).transpose(1, 2).repeat_interleave(self.repeat, dim=1)

    def map(self, mels: torch.Tensor) -> torch.Tensor:
        """The model's last map (N, D, frequencies, frames) of spectrograms (N, C, frames, M)."""
        longer = torch.zeros(len(mels), 1, dtype=torch.bool, device=mels.device)
        return self.model.module(input_features=mels, is_longer=longer).last_hidden_state


def load_audio_model(path: str):
    """The ClapAudioModel of a folder or hub name.

    Raises:
        SecError: nothing there, a CLAP without audio part, or another kind of model.
    """
    config = load_pretrained("AutoConfig", path, WHAT)
    named = (getattr(config, "architectures", None) or [None])[0]
    made = named or {"clap": "ClapModel", "clap_audio_model": "ClapAudioModel"}.get(config.model_type)
    if made not in (*ALONE, *WITHIN):
        if config.model_type.startswith("clap"):
            raise SecError(
                f"{WHAT}: {path}: holds {made or config.model_type}, which has no audio part; give one of"
                f" {', '.join(WITHIN + ALONE)}, such as laion/clap-htsat-unfused"
            )
        raise SecError(
            f"{WHAT}: {path}: its config.json says model_type {config.model_type!r}, encoder: clap reads CLAP models,"
            " such as laion/clap-htsat-unfused; give one, or another encoder"
        )
    model = load_pretrained(made, path, WHAT, dtype=torch.float32)
    return model.audio_model if made in WITHIN else model


def load_front_end(path: str, kind: str, bands: int) -> ClapFrontEnd:
    """The front-end that a folder names, or the released one.

    Args:
        path: folder or hub name.
        kind: "folder" or "released".
        bands: mel bands that the model reads.

    Raises:
        SecError: the folder names none, or one that does not fit.
    """
    from transformers import ClapFeatureExtractor

    if kind == "released":
        return ClapFrontEnd(ClapFeatureExtractor(feature_size=bands, **RELEASED), path)
    try:
        extractor = load_pretrained("ClapFeatureExtractor", path, WHAT)
    except SecError as err:
        raise SecError(
            f"{WHAT}: {path}: its front-end cannot be read ({err}); add the preprocessor_config.json of the model, or"
            " set encoder_conf front_end: released for one of the WavCaps code"
        ) from err
    found = ClapFrontEnd(extractor, path)
    if found.bands != bands:
        raise SecError(
            f"{WHAT}: {path}: its front-end gives {found.bands} mel bands, the model reads {bands}; correct"
            " feature_size in its preprocessor_config.json"
        )
    return found


def _last(size: int | list[int]) -> int:
    """The one of two sizes that is along time."""
    return size if isinstance(size, int) else size[-1]

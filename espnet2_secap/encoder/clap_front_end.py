"""From waveforms to what a CLAP audio model reads: windows of one length as log-mel spectrograms."""

from collections.abc import Sequence

import torch

from espnet2_secap.errors import SecError

FLOOR = 1e-10  # power of a mel band that is silent: -100 dB
# What the released WavCaps code feeds its HTSAT: zeros behind short audio, mel bands of Slaney.
RELEASED = {
    "sampling_rate": 32000, "hop_length": 320, "fft_window_size": 1024, "frequency_min": 50, "frequency_max": 14000,
    "max_length_s": 10, "padding": "pad", "truncation": "rand_trunc",
}  # fmt: skip
PADDINGS = ("pad", "repeat", "repeatpad")


class ClapFrontEnd(torch.nn.Module):
    """The spectrograms of transformers' ClapFeatureExtractor, on any device and without random crops.

    A periodic Hann window, reflect padding, power spectra, mel bands, and 10 log10 of at least 1e-10.

    Args:
        extractor: a ClapFeatureExtractor. Its mel bands are HTK's where its `truncation` is "fusion", else Slaney's.
        path: whose it is, for messages.

    Attributes:
        sampling_rate: Hz.
        window_samples: samples of a window.
        bands: mel bands.
        mel_frames: of a window's spectrogram.
        least: samples of the shortest waveform whose edges can be reflected.

    Raises:
        SecError: bands above half of the sampling rate, an unknown way of padding.
    """

    def __init__(self, extractor, path: str):
        super().__init__()
        self.sampling_rate, self.hop = int(extractor.sampling_rate), int(extractor.hop_length)
        self.n_fft, self.padding = int(extractor.fft_window_size), str(extractor.padding)
        self.window_samples = int(extractor.max_length_s * self.sampling_rate)
        if extractor.frequency_max > self.sampling_rate / 2:
            raise SecError(
                f"{path}: its front-end has mel bands up to {extractor.frequency_max:g} Hz, and audio at its sampling"
                f" rate of {self.sampling_rate} Hz has {self.sampling_rate // 2} Hz at most; correct sampling_rate in"
                " its preprocessor_config.json"
            )
        if self.padding not in PADDINGS:
            raise SecError(
                f"{path}: padding {self.padding!r} in its preprocessor_config.json: must be one of"
                f" {', '.join(PADDINGS)}"
            )
        fused = extractor.truncation == "fusion"
        filters = extractor.mel_filters if fused else extractor.mel_filters_slaney
        # In float64: silence is at the floor only where rounding is far below it, and models hear the difference.
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float64), persistent=False)  # (n_fft/2+1, M)
        self.register_buffer("hann", torch.hann_window(self.n_fft, dtype=torch.float64), persistent=False)
        self.bands, self.mel_frames = self.filters.size(1), self.window_samples // self.hop + 1
        self.least = self.n_fft // 2 + 1

    def _apply(self, fn, recurse: bool = True):
        # A task converts its model to float32 or less: only the device may change.
        return super()._apply(lambda t: t.to(fn(t).device), recurse)

    def windows(self, wave: torch.Tensor, count: int | None) -> torch.Tensor:
        """Windows (N, window_samples) of a waveform (S,): the first `count`, or all of it if None.

        What the last one lacks is filled as the model's folder says: with zeros, or with repeats of what it has.
        """
        pieces = wave.split(self.window_samples)[:count]
        return torch.stack([*pieces[:-1], self._filled(pieces[-1])])

    def _filled(self, piece: torch.Tensor) -> torch.Tensor:
        times = self.window_samples // len(piece) if len(piece) else 1
        if self.padding == "repeatpad":
            piece = piece.repeat(times)
        elif self.padding == "repeat":
            piece = piece.repeat(times + 1)[: self.window_samples]
        return torch.nn.functional.pad(piece, (0, self.window_samples - len(piece)))

    def together(self, waves: Sequence[torch.Tensor]) -> torch.Tensor:
        """The starts of waveforms with zeros up to the longest of them, (B, at most window_samples)."""
        starts = [wave[: self.window_samples] for wave in waves]
        return torch.nn.utils.rnn.pad_sequence(starts, batch_first=True)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Waveforms (N, S) -> log-mel spectrograms (N, S // hop + 1, M) in dB."""
        spectra = torch.stft(
            windows.double(),
            self.n_fft,
            self.hop,
            window=self.hann,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = torch.view_as_real(spectra).square().sum(-1).transpose(1, 2)  # (N, frames, n_fft / 2 + 1)
        return (10 * (power @ self.filters).clamp(min=FLOOR).log10()).float()

import numpy as np
import pytest
import torch

from espnet2_secap.encoder.descriptors import DescriptorEncoder
from espnet2_secap.errors import SecError


class Ramp(DescriptorEncoder):
    """Per frame of 10 ms its number; per utterance its number of samples."""

    package_name, how_to_install = "json", "it is part of Python"

    def frame_names(self):
        return ["number"]

    def utterance_names(self):
        return ["samples"]

    def describe(self, wave):
        return np.arange(len(wave) // 160, dtype=np.float64)[:, None], np.array([float(len(wave))])


def run(encoder, *samples):
    return encoder(torch.zeros(len(samples), max(samples)), torch.tensor(samples))


def test_frames_are_means_and_utterances_are_repeated():
    encoder = Ramp(frames=True, utterance=True, frame_shift=320)
    assert encoder.names() == ["number", "samples"] and encoder.output_size() == 2
    feats, lengths = run(encoder, 5 * 160 + 159, 2 * 160)
    assert lengths.tolist() == [3, 1] and feats.dtype == torch.float32
    assert feats[0].tolist() == [[0.5, 959.0], [2.5, 959.0], [4.0, 959.0]]  # of 5 frames: 0 and 1, 2 and 3, 4
    assert feats[1].tolist() == [[0.5, 320.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("frames, utterance", [(True, False), (False, True), (True, True)])
def test_all_parts_have_the_same_frames(frames, utterance):
    encoder = Ramp(frames=frames, utterance=utterance, frame_shift=1600)
    feats, lengths = run(encoder, 16000, 16160, 17600)
    assert lengths.tolist() == [10, 11, 11] and feats.shape == (3, 11, frames + utterance)
    assert not feats[0, 10:].any() and feats[0, :10].any(1).all()


def test_what_is_refused():
    with pytest.raises(SecError, match="frame_shift 250: must be a multiple of 160 samples .* give 320"):
        Ramp(frames=True, utterance=False, frame_shift=250)
    encoder = Ramp(frames=True, utterance=False, frame_shift=160)
    encoder.min_samples = 400
    with pytest.raises(SecError, match="399 samples, its descriptors need 400; .*--min_wav_duration"):
        run(encoder, 500, 399)
    with pytest.raises(SecError, match="expects waveforms"):
        encoder(torch.zeros(1, 500, 3), torch.tensor([500]))

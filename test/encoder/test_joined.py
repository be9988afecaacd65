import pytest
import torch

from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.encoder.acoustic import AcousticEncoder
from espnet2_secap.encoder.joined import JoinedEncoder
from espnet2_secap.encoder.s3prl import S3PRLEncoder
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.errors import SecError


class Numbers(AbsEncoder):
    """Frame k has the value k + 1."""

    def __init__(self, frame_shift, window=0, rate=16000, num_layers=1):
        super().__init__()
        self.sampling_rate, self.frame_shift, self.window = rate, frame_shift, window
        self.min_samples, self.num_layers, self.padding_safe = max(window, frame_shift), num_layers, True

    def output_size(self):
        return 1

    def forward(self, speech, speech_lengths):
        lengths = (speech_lengths - self.window) // self.frame_shift + (self.window > 0)
        frames = torch.arange(1.0, int(lengths.max()) + 1).expand(len(lengths), -1)
        return (frames * (frames <= lengths[:, None]))[..., None], lengths


def run(encoder, *samples):
    return encoder(torch.zeros(len(samples), max(samples)), torch.tensor(samples))


def test_frames_become_those_of_the_largest_shift():
    encoder = JoinedEncoder({"b": Numbers(320, window=400), "a": Numbers(160)})
    assert (encoder.frame_shift, encoder.min_samples, encoder.padding_safe, encoder.output_size()) == (
        320,
        400,
        True,
        2,
    )
    feats, lengths = run(encoder, 1600, 880)
    assert lengths.tolist() == [4, 2]  # of 10 frames of a: 5; b has (1600 - 400) // 320 + 1 = 4
    assert feats[0].tolist() == [[1.5, 1.0], [3.5, 2.0], [5.5, 3.0], [7.5, 4.0]]  # in the order of the names
    assert feats[1].tolist() == [[1.5, 1.0], [3.5, 2.0], [0.0, 0.0], [0.0, 0.0]]


def test_acoustic_beside_hubert_and_filterbanks(tmp_path, make_model, wavs, pad):
    make_model(tmp_path)
    parts = {
        "hubert": S3PRLEncoder("hf_hubert_custom", str(tmp_path)),
        "acoustic": AcousticEncoder("both"),
        "fbank": S3PRLEncoder("fbank_no_cmvn"),
    }
    encoder = JoinedEncoder(parts).eval()
    batch, samples = pad(wavs)
    feats, lengths = encoder(batch, samples)
    assert feats.shape[2] == encoder.output_size() == 82 + 240 + 32
    alone, frames = parts["hubert"](batch, samples)
    assert lengths.tolist() == [min((n - 400) // 320 + 1, -(-((n - 400) // 160 + 1) // 2)) for n in samples.tolist()]
    for row, other, wav, n in zip(feats, alone, wavs, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:n, -32:], other[:n])
        assert not row[n:].any()
        single, (same,) = encoder(wav[None], torch.tensor([len(wav)]))
        assert same == n
        torch.testing.assert_close(single[0, :n], row[:n], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", range(400, 1200, 7))
def test_acoustic_and_hubert_are_at_most_a_frame_apart(samples):
    ours = -(-(samples // 160) // 2)
    assert 0 <= ours - ((samples - 400) // 320 + 1) <= 1
    assert 0 <= samples // 160 - ((samples - 400) // 160 + 1) <= 2  # filterbanks


def test_remarks_are_those_of_the_parts():
    encoder = JoinedEncoder({"a": Numbers(160), "voice": AcousticEncoder()})
    feats = torch.ones(4, encoder.output_size()).numpy()
    assert encoder.remark(feats) is None
    feats[:, 1] = 0.0  # voiced, the first of the acoustic descriptors
    assert encoder.remark(feats) == "no voiced frame, so that their F0 is 0 throughout"


def test_what_cannot_be_joined():
    one = Numbers(320)
    for encoders, message in (
        ({"a": one}, "takes two or more encoders, got a"),
        ({"a": one, "b": Numbers(320, rate=24000)}, "of audio at one sampling rate, got a 16000, b 24000"),
        ({"a": one, "b": StoredEncoder(3)}, "got a 16000, b stored features"),
        ({"a": one, "b": Numbers(240)}, "frame shift of b, 240 samples, does not divide the largest, 320"),
        ({"a": one, "b": Numbers(320, num_layers=3)}, "b gives 3 layers side by side.*choose one layer"),
    ):
        with pytest.raises(SecError, match=message):
            JoinedEncoder(encoders)


def test_an_encoder_with_a_wrong_frame_shift_is_found():
    wrong = Numbers(160)
    wrong.frame_shift = 320
    encoder = JoinedEncoder({"a": Numbers(320), "b": wrong})
    wrong.forward = Numbers(160).forward
    with pytest.raises(SecError, match="frames do not belong together .a 10, b 20."):
        run(encoder, 3200)

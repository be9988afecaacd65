"""What encoders of audio check of a batch before they read it."""

import torch

from espnet2_secap.errors import SecError


def samples_of(speech: torch.Tensor, speech_lengths: torch.Tensor, least: int, needs: str) -> list[int]:
    """Samples of each of B waveforms.

    Args:
        speech: (B, S).
        speech_lengths: samples, (B,).
        least: samples of the shortest utterance that the encoder takes.
        needs: the words before this number in a message, such as "the upstream needs".

    Raises:
        SecError: they are no waveforms, or one is too short.
    """
    if speech.dim() != 2:
        raise SecError(f"encoder: expects waveforms (B, samples), got {tuple(speech.shape)}; give --feats_type raw")
    samples = speech_lengths.tolist()
    if min(samples) < least:
        raise SecError(
            f"encoder: an utterance has {min(samples)} samples, {needs} {least}; leave out such short ones with"
            " --min_wav_duration"
        )
    return samples

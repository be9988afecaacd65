"""A model's probabilities of captions, interpolated with how near the captions' recordings are.

As in nearest-neighbour language models (Khandelwal et al., ICLR 2020), a store of training examples that is looked up
stands beside what is kept in the weights: p(c | x) = (1 - s) p_model(c | x) + s p_near(c | x), p_near being the weights
of `nearest_caption`. It helps where there are few training utterances, some of which are nearly alike.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.nearest import Neighbours, describe, described
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.inference.training_speech import TrainingSpeech
from espnet2_secap.tasks.front_end import check_input


class NearWeights:
    """Weights of a set of captions by how near the training utterances that have them are.

    Args:
        captions_file: of --candidates, by ids of the training set.
        texts: the C captions of the set.
        speech: all utterances of the training set.
        speech2caption: the model, whose encoder makes the features of audio.
        batch_size: utterances that the encoder reads together.
        device: of the encoder.

    Raises:
        SecError: no training utterance has captions in the file, or its features cannot be read.
    """

    def __init__(
        self,
        captions_file: str | Path,
        texts: Sequence[str],
        speech: TrainingSpeech,
        speech2caption: Speech2Caption,
        batch_size: int,
        device: str,
    ):
        captions = {utt: [one.strip() for one in some] for utt, some in read_captions(captions_file).items()}
        ids = [utt for utt in speech.ids if captions.get(utt)]
        if not ids:
            raise SecError(
                f"--posterior_neighbours: {captions_file} has no captions of the utterances of {speech.folder}; give"
                " --candidates training"
            )
        model = speech2caption.model
        check_input(speech.folder, speech.utterances, model.encoder, speech2caption.train_args.front_end)
        self.encoder = model.encoder if speech.utterances.raw else None
        self.device = device
        vectors = described(speech.utterances, ids, self.encoder, batch_size, device, speech.folder)
        self.near = Neighbours(captions, ids, vectors)
        place = {text: number for number, text in enumerate(texts)}
        self._place = np.array([place[text] for text in self.near.texts])
        self._size = len(texts)

    def __call__(self, speech: Sequence[np.ndarray | torch.Tensor]) -> np.ndarray:
        """What the model itself takes of B utterances, (samples,) or (T, D) each -> weights (B, C) with sum 1 each."""
        if self.encoder is not None:
            from espnet2_secap.feats.extract import encode

            speech = encode(speech, self.encoder, self.device)
        frames = (np.asarray(one) for one in speech)
        vectors = describe(frames, [str(number) for number in range(len(speech))], "utterances to decode")
        output = np.zeros((len(speech), self._size))
        for row, weights in zip(output, self.near.weights(vectors), strict=True):
            row[self._place] = weights
        return output

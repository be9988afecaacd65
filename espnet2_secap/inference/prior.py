"""How probable a caption is whatever is heard: its mean probability over recordings of the training set.

p(c | x) / p(c) is what the speech x tells of the caption c, and depends neither on how long the caption is nor on how
common its words are. Its logarithm is their pointwise mutual information (Li et al., "A diversity-promoting objective
function for neural conversation models", NAACL 2016).
"""

from collections.abc import Sequence

import numpy as np

from espnet2_secap.inference.posterior import log_probs_of, utterances_of
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.inference.training_speech import TrainingSpeech
from espnet2_secap.progress import progress
from espnet2_secap.tasks.front_end import check_input


def log_prior(
    speech2caption: Speech2Caption, speech: TrainingSpeech, ids: Sequence[Sequence[int]], batch_size: int
) -> np.ndarray:
    """log p(c), p(c) = 1/K sum_k p(c | x_k), of each of C captions in nats, (C,).

    Args:
        ids: tokens of the captions, each with its end token.
        batch_size: utterances that the encoder reads together.

    Raises:
        SecError: an utterance cannot be read, or is not what the model takes.
    """
    utterances, model = speech.utterances, speech2caption.model
    if speech2caption.hears:
        check_input(speech.folder, utterances, model.encoder, speech2caption.train_args.front_end)
    said = speech.texts(speech2caption.train_args.missing_text) if speech2caption.reads_text else None
    found = []
    starts = range(0, len(speech.ids), batch_size)
    for start in progress(starts, desc=f"prior of the captions, {batch_size} training utterances a step"):
        ids_of_batch = speech.ids[start : start + batch_size]
        batch = [utterances.read(utt) if speech2caption.hears else None for utt in ids_of_batch]
        texts = None if said is None else [said[utt] for utt in ids_of_batch]
        for own in utterances_of(speech2caption.segments(batch, texts)):
            found.append(log_probs_of(model.decoder, own, ids))
    return np.logaddexp.reduce(np.stack(found), axis=0) - np.log(len(found))  # (K, C) -> (C,)

"""How probable a caption is whatever is heard: its mean probability over recordings of the training set.

p(c | x) / p(c) is what the speech x tells of the caption c, and depends neither on how long the caption is nor on how
common its words are. Its logarithm is their pointwise mutual information (Li et al., "A diversity-promoting objective
function for neural conversation models", NAACL 2016).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espnet2_secap.data.transcripts import read_transcripts
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.inference.posterior import log_probs_of, named_in_training, utterances_of
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.progress import progress
from espnet2_secap.tasks.front_end import check_input


class TrainingSpeech:
    """K utterances of a model's training set, evenly spaced in the order of their ids.

    Args:
        option: that asks for them, for messages.
        number: K; all if none.
        train_config: config.yaml of the model, which names the features or audio of its training.

    Attributes:
        folder: of the training set.
        utterances: its reader.
        ids: of the K utterances.

    Raises:
        SecError: config.yaml names none, they are not there, or fewer than K.
    """

    def __init__(self, option: str, number: int | None, train_config: str | Path):
        path, kind = named_in_training("speech", train_config) or (None, None)
        if path is None:
            raise SecError(f"{option}: {train_config} names no speech of the training; give {option.split()[0]} 0")
        if not path.is_file():
            raise SecError(f"{option}: {path}: no such file; it is the training's, by {train_config}")
        self.folder, self.train_config = path.parent, train_config
        self.utterances = Utterances(self.folder, raw=kind == "sound")
        there = self.utterances.ids
        number = len(there) if number is None else number
        if number > len(there):
            raise SecError(f"{option}: {path} has {len(there)} utterances; give at most that number")
        self.ids = [there[i * len(there) // number] for i in range(number)]

    def texts(self, missing_text: str) -> dict[str, str]:
        """Their transcriptions, of the file that config.yaml names; see `read_transcripts`."""
        path, _ = named_in_training("text", self.train_config) or (None, None)
        return read_transcripts(path, self.ids, missing_text, "training set")

    def made_from(self) -> list:
        """What tells the K utterances from others."""
        return [[utt, self.utterances.paths[utt], self.utterances.lengths[utt]] for utt in self.ids]


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

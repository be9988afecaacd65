"""Captions of the training utterances that sound alike: what the features say without any training.

Each utterance is described by the mean and standard deviation over time of what the model reads. A trained model whose
captions are no better than these has learned little beyond its features.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet2_secap.cli_types import from_args
from espnet2_secap.data.io import make_dir, read_captions, write_captions
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.decoder.options import AgreementOptions
from espnet2_secap.errors import SecError, few
from espnet2_secap.inference.agreement import Agreement, options_of, read_agreement
from espnet2_secap.inference.consensus import TextSet
from espnet2_secap.progress import progress

if TYPE_CHECKING:
    from espnet2_secap.encoder.abs_encoder import AbsEncoder

TEMPERATURE = 0.1  # of the weights exp(cosine / TEMPERATURE)
MOST = 1000  # captions of one utterance that count: those of the greatest weight
BLOCK = 64  # test utterances whose cosines to all training utterances are there at once
FLAT = 1e-9  # a value that varies by less than this share of its size is constant

WINDOW = 8  # batches of audio that are sorted by length together


def frames_of(
    utterances: Utterances, ids: Sequence[str], encoder: "AbsEncoder | None", batch_size: int, device: str
) -> Iterator[np.ndarray]:
    """What a model reads of each utterance, (T, D): stored features, or the encoder's of its audio."""
    if encoder is None:
        yield from map(utterances.read, ids)
        return
    from espnet2_secap.feats.extract import encode

    for start in range(0, len(ids), WINDOW * batch_size):
        window, found = ids[start : start + WINDOW * batch_size], {}
        for batch in utterances.batches(window, batch_size):
            found |= dict(zip(batch, encode([utterances.read(utt) for utt in batch], encoder, device), strict=True))
        yield from (found[utt] for utt in window)


def trained_encoder(model_file: str | Path, device: str) -> "AbsEncoder | None":
    """The encoder of a model that reads audio, with what is trained of it; None for one that reads stored features.

    Neither bridge nor decoder is built.

    Raises:
        SecError: no such model or device, or a model file that does not fit its config.yaml.
    """
    from espnet2_secap.devices import check_device
    from espnet2_secap.model.checkpoint import load_state
    from espnet2_secap.tasks.experiment import find_model, read_config
    from espnet2_secap.tasks.parts import CHOICES

    check_device(device)
    config, model_file = find_model(model_file)
    args = read_config(config, {"encoder_conf": {}})
    encoder = CHOICES["encoder"].build(args.encoder, args.encoder_conf)
    if encoder.sampling_rate is None:
        return None
    state = {name.removeprefix("encoder."): value for name, value in load_state(model_file).items()
             if name.startswith("encoder.")}  # fmt: skip
    try:
        left = encoder.load_state_dict(state, strict=False).unexpected_keys  # what is frozen is in no model file
    except RuntimeError as err:
        raise SecError(f"{model_file}: its encoder does not fit {config} ({' '.join(str(err).split())[:300]})") from err
    if left:
        raise SecError(f"{model_file}: its encoder does not fit {config} ({left[0]} is left over)")
    return encoder.to(device).eval()


def describe(frames: Iterator[np.ndarray], ids: Sequence[str], where: str | Path) -> np.ndarray:
    """Mean and standard deviation over the frames (T, D) of each utterance: (N, 2 D) float32.

    Args:
        frames: one array for each id.
        where: they come from, for messages.

    Raises:
        SecError: an utterance without frames, of another width than the first one, or with NaN.
    """
    output = None
    for number, (utt, one) in enumerate(zip(ids, frames, strict=True)):
        if not len(one):
            raise SecError(f"{where}: {utt}: has no frames; run stage 3 again, or leave it out of the set")
        if output is None:
            output = np.empty((len(ids), 2 * one.shape[1]), dtype=np.float32)
        if 2 * one.shape[1] != output.shape[1]:
            raise SecError(
                f"{where}: {utt}: has {one.shape[1]} values per frame, {ids[0]} has {output.shape[1] // 2};"
                " run stage 3 again"
            )
        if not np.isfinite(one).all():
            raise SecError(f"{where}: {utt}: its features hold NaN or infinity; run stage 3 again")
        # Exactly 0 where nothing varies, whatever the rounding of the mean.
        spread = np.where(one.max(0) > one.min(0), one.std(0, dtype=np.float64), 0.0)
        output[number] = np.concatenate([one.mean(0, dtype=np.float64), spread])
    return output


def described(
    utterances: Utterances, ids: Sequence[str], encoder: "AbsEncoder | None", batch_size: int, device: str, where
) -> np.ndarray:
    """`describe` of what a model reads of utterances of a set, `where`; with the progress on stderr."""
    frames = frames_of(utterances, ids, encoder, batch_size, device)
    return describe(progress(frames, total=len(ids), desc=f"statistics of {where}"), ids, where)


class Neighbours:
    """The captions of a training set, weighted by how near their utterances are.

    Each value is standardised over the training set. What does not vary over it counts for nothing, such as the
    deviations of features that are the same in all frames. An utterance has the weight exp(cosine / 0.1), which its
    captions share evenly; equal captions add theirs.

    Args:
        captions: id -> captions of the training set.
        ids: of the N training utterances, each with captions.
        vectors: of `describe`, (N, D).
        neighbours: this many of the nearest count, those equally near as the last of them too; 0: all.

    Attributes:
        texts: the C distinct captions.
        place: number of each utterance.
    """

    def __init__(self, captions: Mapping[str, list[str]], ids: Sequence[str], vectors: np.ndarray, neighbours: int = 0):
        self.texts = list(dict.fromkeys(text for utt in ids for text in captions[utt]))
        self.place = {utt: number for number, utt in enumerate(ids)}
        self.neighbours = neighbours
        number = {text: at for at, text in enumerate(self.texts)}
        self._owner = np.array([at for at, utt in enumerate(ids) for _ in captions[utt]])
        self._text = np.array([number[text] for utt in ids for text in captions[utt]])
        self._part = np.array([1 / len(captions[utt]) for utt in ids for _ in captions[utt]])
        self._mean, deviation = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
        varies = deviation > FLAT * np.abs(vectors).max(0)
        self._scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        self._unit = self._standardised(vectors)

    def _standardised(self, vectors: np.ndarray) -> np.ndarray:
        """Of length 1; a vector of length 0 stays."""
        moved = ((vectors - self._mean) * self._scale).astype(np.float32)
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return np.divide(moved, length, out=np.zeros_like(moved), where=length > 0)

    def weights(self, vectors: np.ndarray, without: Sequence[str | None] = ()) -> Iterator[np.ndarray]:
        """For each of M utterances, vectors (M, D), the weights of the captions, (C,), with sum 1.

        Args:
            without: for each, the training utterance that does not count, if any.

        Raises:
            SecError: vectors of another width than those of the training set.
        """
        if vectors.shape[1] != len(self._mean):
            raise SecError(
                f"nearest captions: the test set has {vectors.shape[1] // 2} values per frame, the training set"
                f" {len(self._mean) // 2}; run stage 3 for both with the same encoder"
            )
        for start in range(0, len(vectors), BLOCK):
            cosines = self._standardised(vectors[start : start + BLOCK]) @ self._unit.T
            for at, row in enumerate(cosines.astype(np.float64), start):
                if at < len(without) and without[at] in self.place:
                    row[self.place[without[at]]] = -np.inf
                if 0 < self.neighbours < np.isfinite(row).sum():
                    row[row < np.partition(row, -self.neighbours)[-self.neighbours]] = -np.inf
                near = np.exp((row - row.max()) / TEMPERATURE)
                total = np.bincount(self._text, near[self._owner] * self._part, minlength=len(self.texts))
                yield total / total.sum()


def nearest_captions(
    captions: Mapping[str, list[str]],
    train: tuple[Sequence[str], np.ndarray],
    test: tuple[Sequence[str], np.ndarray],
    neighbours: int = 0,
    same_set: bool = False,
    agreement: Agreement | None = None,
) -> dict[str, list[str]]:
    """For each test utterance one caption of the training utterances nearest to it.

    The captions of an utterance share its weight exp(cosine / 0.1) evenly; equal captions add theirs. Of the MOST
    captions of the greatest weight, the one with the highest weighted mean similarity to all of them is taken (of
    equals the first in the order of the training set).

    Args:
        captions: id -> captions of the training set.
        train, test: ids, and vectors of `describe`.
        neighbours: this many of the nearest count, those equally near as the last of them too; 0: all.
        same_set: the test set is the training set: no utterance is its own neighbour.
        agreement: added to the similarity, if any.

    Returns:
        id -> [caption].

    Raises:
        SecError: vectors of different widths, no training utterance with a caption, or none but the utterance itself.
    """
    if len(train[0]) <= bool(same_set):
        raise SecError("nearest captions: the only training utterance is the test utterance itself; use another set")
    near, found = Neighbours(captions, *train, neighbours), {}
    texts = TextSet(near.texts, agreement)
    weights = near.weights(test[1], test[0] if same_set else ())
    for utt, total in progress(zip(test[0], weights, strict=True), total=len(test[0]), desc="nearest captions"):
        among = np.sort(np.argsort(-total, kind="stable")[:MOST])
        among = among[total[among] > 0]
        means = texts.expected_similarity(total[among], among=among)
        found[utt] = [texts.texts[among[_first_of_the_best(means)]]]
    return found


def _first_of_the_best(means: np.ndarray) -> int:
    """The index of the greatest value; what differs by rounding alone is equal."""
    return int(np.flatnonzero(means >= means.max() - 1e-12)[0])


def write_nearest(args: argparse.Namespace) -> int:
    """Write OUTPUT/captions of the nearest training utterances; options are those of sec_nearest.

    Returns:
        number of test utterances.

    Raises:
        SecError: data, features or a model that do not fit each other; no training utterance with a caption; words
            that cannot be read or lack an attribute.
    """
    options = from_args(AgreementOptions, args)
    if args.like:
        if options.agreement:
            raise SecError("--like: is given together with --agreement; leave one of them out")
        options = options_of(args.like)
    agreement = read_agreement(options)
    captions = read_captions(args.train_captions)
    encoder = trained_encoder(args.sec_model_file, args.device) if args.sec_model_file else None
    folders = args.train_dir, args.data_dir
    sets = [Utterances(folder, raw=encoder is not None) for folder in folders]
    train_ids = [utt for utt in sets[0].ids if utt in captions]
    if not train_ids:
        raise SecError(
            f"{args.train_captions}: has no captions of the utterances of {args.train_dir} ({few(sets[0].ids)});"
            " give those of the training set"
        )
    same, vectors = os.path.realpath(folders[0]) == os.path.realpath(folders[1]), []
    for folder, utterances, ids in zip(folders, sets, (train_ids, sets[1].ids), strict=True):
        if encoder is not None:
            utterances.resample_to(encoder.sampling_rate)
        if same and vectors and vectors[0][0] == ids:
            vectors *= 2
            break
        vectors.append((ids, described(utterances, ids, encoder, args.batch_size, args.device, folder)))
    found = nearest_captions(captions, *vectors, args.neighbours, same, agreement)
    write_captions(make_dir(args.output) / "captions", found)
    return len(found)

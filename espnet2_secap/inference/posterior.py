"""Choosing captions by the model's own probability of each of a set of them: minimum Bayes risk without samples.

Of a fixed set of captions, p(c | x) follows exactly from the log-probability that the decoder gives each of them, and
so does the expected similarity of a hypothesis to what the model would say, sum_c p(c | x) s(h, c). Nothing is drawn:
the result is the same for every seed. Samples and beams, whose set is another one for every utterance, can be weighted
alike (Eikema & Aziz, EMNLP 2022, compare such sets of hypotheses and of evidence).
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import read_captions
from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.options import TRAINING, SetOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.agreement import Agreement
from espnet2_secap.inference.consensus import TextSet
from espnet2_secap.inference.speech2caption import Captions, Speech2Caption
from espnet2_secap.inference.training_speech import named_in_training
from espnet2_secap.text.template import Segment

TOKENS = 8192  # of captions that go through the decoder together
LOGITS = 2**27  # at once: 512 MB in float32
SHOWN = 100  # captions of a set that candidates.jsonl lists, of those that have this probability at least:
SHARE = 1e-6


def candidates_file(name: str, train_config: str | Path) -> Path:
    """The captions file that --candidates names.

    Raises:
        SecError: there is no such file, or config.yaml does not name the captions of the training.
    """
    path, what = Path(name), "check the path"
    if name == TRAINING:
        found = named_in_training("caption", train_config)
        if found is None:
            raise SecError(
                f"--candidates {TRAINING}: {train_config} names no captions of the training; give their file"
            )
        path, what = found[0], f"it is the training's, by {train_config}; give the file of its captions"
    if not path.is_file():
        raise SecError(f"--candidates {name}: {path}: no such file; {what}")
    return path


class CandidateSet:
    """The distinct captions of a training set, as text and as a model's tokens.

    Args:
        path: captions file.
        speech2caption: the model.
        agreement: of --agreement.

    Attributes:
        texts: C captions, in the order of the file.
        set: the same, for their similarity.
        counts: how often each occurs, (C,).
        ids: of each the tokens, the end included.
        log_prior: log p(c) of each in nats, (C,), where it counts (see prior.py); else None.

    Raises:
        SecError: the file cannot be read.
    """

    def __init__(self, path: str | Path, speech2caption: Speech2Caption, agreement: Agreement | None = None):
        counted = Counter(text.strip() for texts in read_captions(path).values() for text in texts)
        self.set = TextSet(counted, agreement)
        self.counts = np.array(list(counted.values()), dtype=np.float64)
        self.log_prior: np.ndarray | None = None
        self.texts = self.set.texts
        self.ids = tokens_of(speech2caption, self.texts)

    def weights(self, log_probs: np.ndarray, options: SetOptions) -> np.ndarray:
        """Of each caption, (C,), with the sum 1: p(c | x); with a prior, n(c) (p(c | x) / p(c))^(1 / temperature)."""
        if self.log_prior is None:
            return probabilities(log_probs, self.ids, options)
        weights = self.counts * probabilities(log_probs - self.log_prior, self.ids, options)
        return weights / weights.sum()


def tokens_of(speech2caption: Speech2Caption, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of captions as in training: with the end token."""
    return [[*speech2caption.tokenizer.encode(text), speech2caption.model.template.end] for text in texts]


def log_probs_of(decoder: AbsDecoder, segments: Sequence[Segment], ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Log-probability of each of C captions in nats, (C,).

    Args:
        segments: of one utterance.
        ids: of the captions, each with its end token.

    Raises:
        SecError: what the decoder reads would be longer than it can read.
    """
    sizes = np.array([len(one) for one in ids])
    decoder.check_length(segments, int(sizes.max()))
    return _log_probs(decoder, segments, ids, sizes)


@torch.no_grad()
def _log_probs(
    decoder: AbsDecoder, segments: Sequence[Segment], ids: Sequence[Sequence[int]], sizes: np.ndarray
) -> np.ndarray:
    """Batches of one length or nearly so, of bounded size."""
    found, device = np.empty(len(ids)), segments[0].mask.device
    most = max(1, min(TOKENS, LOGITS // (decoder.rows or 1)))
    order = np.argsort(sizes, kind="stable")
    while len(order):
        number = len(order)  # the longest decides on the size of the batch
        while number > 1 and number * sizes[order[number - 1]] > most:
            number = max(1, min(number - 1, most // sizes[order[number - 1]]))
        batch, order = order[:number], order[number:]
        content = torch.zeros(number, sizes[batch[-1]], dtype=torch.long)
        for row, one in enumerate(batch):
            content[row, : sizes[one]] = torch.tensor(ids[one])
        mask = torch.arange(content.size(1)) < torch.from_numpy(sizes[batch])[:, None]
        captions = Segment(content.to(device), mask.to(device))
        found[batch] = decoder.caption_log_probs(segments, captions).double().cpu().numpy()
    return found


def probabilities(log_probs: np.ndarray, ids: Sequence[Sequence[int]], options: SetOptions) -> np.ndarray:
    """p(c | x) of each of C captions within their set, (C,), of their log-probabilities (C,) and tokens."""
    sizes = [len(one) if options.posterior_per_token else 1 for one in ids]
    values = log_probs / sizes / options.posterior_temperature
    values = np.exp(values - values.max())
    return values / values.sum()


def utterances_of(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments of a batch for each utterance, (1, .), without padding."""
    rows = range(len(segments[0].mask))
    return [
        [Segment(one.content[i : i + 1, one.mask[i]], one.mask[i : i + 1, one.mask[i]]) for one in segments]
        for i in rows
    ]


def chosen_from_set(
    speech2caption: Speech2Caption,
    segments: Sequence[Segment],
    candidates: CandidateSet,
    generated: Captions | None,
    options: SetOptions,
    near: np.ndarray | None = None,
) -> list[dict]:
    """For each utterance of a batch what candidates.jsonl says, see `ranked` in decode.py.

    Args:
        near: for each utterance the weights of the C captions by nearness, (B, C), see neighbours.py; if any, they
            have the share --posterior_neighbours.
        generated: samples and hypotheses of beam search, if what is kept may be one of them. They carry no weight.
    """
    rows = []
    for number, own in enumerate(utterances_of(segments)):
        log_probs = log_probs_of(speech2caption.model.decoder, own, candidates.ids)
        weights = candidates.weights(log_probs, options)
        if near is not None:
            weights = (1 - options.posterior_neighbours) * weights + options.posterior_neighbours * near[number]
        found = []
        if options.choose_from != "generated":
            expected = candidates.set.expected_similarity(weights)
            found = [
                {"text": text, "score": log_prob, "probability": weight, "similarity": value}
                for text, log_prob, weight, value in zip(candidates.texts, log_probs, weights, expected, strict=True)
            ]
            if candidates.log_prior is not None:
                found = [row | {"prior": prior} for row, prior in zip(found, candidates.log_prior, strict=True)]
        if options.choose_from != "candidates":
            there = {row["text"] for row in found}
            texts: dict[str, float] = {}
            for text, score in generated[number]:  # the best first; two of them may be one text
                if text not in there:
                    texts.setdefault(text, score)
            expected = candidates.set.expected_similarity(weights, list(texts)) if texts else ()
            found += [
                {"text": text, "score": score, "similarity": value}
                for (text, score), value in zip(texts.items(), expected, strict=True)
            ]
        rows.append(_in_order(found, options.keep))
    return rows


def chosen_by_probability(
    speech2caption: Speech2Caption,
    segments: Sequence[Segment],
    found: Captions,
    options: SetOptions,
    agreement: Agreement | None = None,
) -> list[dict]:
    """For each utterance of a batch its distinct captions, ordered by the expected similarity to all of them."""
    rows = []
    for own, captions in zip(utterances_of(segments), found, strict=True):
        texts = TextSet(dict.fromkeys(text for text, _ in captions), agreement)
        ids = tokens_of(speech2caption, texts.texts)
        log_probs = log_probs_of(speech2caption.model.decoder, own, ids)
        weights = probabilities(log_probs, ids, options)
        columns = zip(texts.texts, log_probs, weights, texts.expected_similarity(weights), strict=True)
        names = ("text", "score", "probability", "similarity")
        rows.append(_in_order([dict(zip(names, one, strict=True)) for one in columns], options.keep))
    return rows


def _in_order(found: list[dict], keep: int) -> dict:
    """The best first (of equals the more probable one); the first ones, and how many of them are kept."""
    found = sorted(found, key=lambda row: (-round(row["similarity"], 9), -row.get("probability", 0)))
    shown = found[:keep] + [row for row in found[keep:] if row.get("probability", 1) >= SHARE][:SHOWN]
    rows = [{key: value if key == "text" else round(float(value), 6) for key, value in row.items()} for row in shown]
    return {"candidates": rows, "kept": min(keep, len(found))}

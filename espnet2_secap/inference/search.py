"""All that the options of a whole set ask for, as one function: speech in, ordered candidates out."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from espnet2_secap.decoder.options import DecodingOptions, SetOptions
from espnet2_secap.errors import SecError
from espnet2_secap.inference.agreement import Agreement, read_agreement, words_digest
from espnet2_secap.inference.consensus import consensus, consensus_of
from espnet2_secap.inference.neighbours import NearWeights
from espnet2_secap.inference.posterior import (
    CandidateSet,
    candidates_file,
    chosen_by_probability,
    chosen_from_set,
)
from espnet2_secap.inference.prior import log_prior
from espnet2_secap.inference.speech2caption import Captions, Clued, Speech2Caption
from espnet2_secap.inference.training_speech import TrainingSpeech
from espnet2_secap.metric.judge import Judge, closeness
from espnet2_secap.metric.ranking import judge_matrices
from espnet2_secap.process.jobs import file_digest
from espnet2_secap.text.prompts import prompt_languages
from espnet2_secap.text.sentence import SentenceEncoder, cosine

Matrices = Callable[[Sequence[Sequence[str]]], list[np.ndarray]]  # candidates of utterances -> similarities (n, n)


class Sources:
    """The files that the options name, found and checked before a model is loaded.

    Args:
        options: of decoding.
        train_config: config.yaml of the model, which names the captions and the speech of its training.

    Attributes:
        agreement: of --agreement; None without.
        captions: file of --candidates; None without.
        speech: training utterances of --posterior_prior and --posterior_neighbours, as far as these are given.

    Raises:
        SecError: there is no such file, or too few utterances.
    """

    def __init__(self, options: SetOptions, train_config: str | Path):
        self.agreement: Agreement | None = read_agreement(options)
        self.captions = candidates_file(options.candidates, train_config) if options.candidates else None
        numbers = {"posterior_prior": options.posterior_prior, "posterior_neighbours": None}
        self.speech = {
            name: TrainingSpeech(f"--{name} {getattr(options, name)}", number, train_config)
            for name, number in numbers.items()
            if getattr(options, name)
        }
        self._words = words_digest(options)

    def made_from(self) -> list:
        """The content of the files, for a fingerprint."""
        captions = file_digest(self.captions) if self.captions else None
        return [captions, self._words, {name: speech.made_from() for name, speech in self.speech.items()}]


class Search:
    """A model and the options of sec_inference.

    >>> options = SetOptions(candidates="training", keep=1)
    >>> search = Search(speech2caption, options, Sources(options, "exp/sec_caption_acoustic/config.yaml"))
    >>> search(["what the model itself takes", ...])
    [{"candidates": [{"text": ..., "score": ...}, ...], "kept": 1}, ...]

    Args:
        speech2caption: the model; its own options are those of the samples or of the search.
        options: of decoding.
        sources: what they name.

    Raises:
        SecError: options that do not fit the LM; captions or speech that cannot be read.
    """

    def __init__(self, speech2caption: Speech2Caption, options: SetOptions, sources: Sources):
        self.speech2caption, self.options, self.agreement = speech2caption, options, sources.agreement
        self.beams = _beams_of(options) if options.beams else None
        if self.beams:
            speech2caption.model.decoder.check_options(self.beams)
        self.sentences, device = None, options.device
        if options.similarity_model:
            self.sentences = SentenceEncoder(options.similarity_model, device)
        self.judge = _judge_of(options, speech2caption) if options.judge and options.keep else None
        self.candidates: CandidateSet | None = None
        self.near: NearWeights | None = None
        if sources.captions:
            self.candidates = CandidateSet(sources.captions, speech2caption, self.agreement)
            size = options.batch_size
            if speech := sources.speech.get("posterior_prior"):
                self.candidates.log_prior = log_prior(speech2caption, speech, self.candidates.ids, size)
            if (speech := sources.speech.get("posterior_neighbours")) and not speech2caption.hears:
                raise SecError(
                    f"--posterior_neighbours {options.posterior_neighbours:g}: compares speech, which this model does"
                    " not take (condition); give 0"
                )
            if speech:
                texts = self.candidates.texts
                self.near = NearWeights(sources.captions, texts, speech, speech2caption, size, device)

    def __call__(
        self,
        speech: Sequence[np.ndarray | None],
        texts: Sequence[str] | None = None,
        clues: Clued | None = None,
    ) -> list[dict]:
        """What candidates.jsonl says of each utterance: its candidates, best first, and how many go into `captions`.

        Args:
            speech, texts, clues: what the model itself takes, see Speech2Caption.segments.
        """
        model, options = self.speech2caption, self.options
        segments, ways = model.segments(speech, texts, clues), []
        if self.candidates is None or options.sampling:
            ways.append(model.generate(segments, options))
        if self.beams:
            ways.append(model.generate(segments, self.beams))
        found = [sum(own, []) for own in zip(*ways, strict=True)]
        if self.candidates is not None:
            near = self.near and self.near(speech)
            return chosen_from_set(model, segments, self.candidates, found, options, near)
        if options.by_probability:
            return chosen_by_probability(model, segments, found, options, self.agreement)
        return ranked(found, options.keep, self.sentences, self.agreement, self.judge)


class SearchCaptioner:
    """`Search` of waveforms, the model of sec_caption; its attributes are those of caption_files.py's `Model`."""

    def __init__(self, search: Search):
        self.search, model = search, search.speech2caption
        self.fs, self.min_samples, self.max_seconds = model.fs, model.min_samples, model.max_seconds

    def caption(self, waves: Sequence[np.ndarray], texts: Sequence[str] | None = None) -> Captions:
        """Waveforms (samples,) at `fs` Hz, transcriptions -> the kept candidates with their scores, best first."""
        found = self.search(self.search.speech2caption.inputs(waves), texts)
        return [[(one["text"], one["score"]) for one in row["candidates"][: row["kept"]]] for row in found]


def _beams_of(options: SetOptions) -> DecodingOptions:
    """Plain beam search for --beams, with the lengths and penalties of the other candidates."""
    given = {field.name: getattr(options, field.name) for field in fields(DecodingOptions)}
    return DecodingOptions(**given | {"sampling": False, "beam_size": options.beams, "num_candidates": options.beams})


def _judge_of(options: SetOptions, speech2caption: Speech2Caption) -> Matrices:
    """What --judge asks for: candidates of several utterances -> for each a matrix of how close they are."""
    prompts = speech2caption.train_args.prompts
    lang = prompts if prompts in prompt_languages() else "en"
    judge = Judge(options.judge, options.judge_cache, options.device)
    question = closeness(lang, options.judge_prompt)
    return lambda batch: [np.array(one) for one in judge_matrices(judge, question, [(one, one) for one in batch])]


def ranked(
    batch: list[list[tuple[str, float]]],
    keep: int,
    sentences: SentenceEncoder | None,
    agreement: Agreement | None = None,
    judge: Matrices | None = None,
) -> list[dict]:
    """What candidates.jsonl says of each utterance's candidates, best first, and how many go into `captions`."""
    matrices = [None] * len(batch)
    texts = [[text for text, _ in candidates] for candidates in batch]
    if sentences is not None and keep:  # all candidates of a batch go through the similarity model together
        embeddings = sentences([text for some in texts for text in some]).split([len(some) for some in texts])
        matrices = [cosine(own, own).numpy() for own in embeddings]
    elif judge is not None and keep:
        matrices = judge(texts)
    return [_in_order(candidates, keep, own, agreement) for candidates, own in zip(batch, matrices, strict=True)]


def _in_order(
    candidates: list[tuple[str, float]], keep: int, matrix: np.ndarray | None, agreement: Agreement | None
) -> dict:
    rows = [{"text": text, "score": round(score, 6)} for text, score in candidates]
    if not keep:
        return {"candidates": rows, "kept": len(rows)}
    texts = [text for text, _ in candidates]
    order, means = consensus(texts, agreement) if matrix is None else consensus_of(matrix, texts, agreement)
    return {"candidates": [rows[i] | {"similarity": round(means[i], 6)} for i in order], "kept": keep}

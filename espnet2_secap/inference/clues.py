"""Where the clues of what is decoded come from (--clues).

Nothing that is made from a test reference reaches a prompt but by --clues oracle: in the whole of decoding, references
are opened by `CluePlan` alone, for oracle clues and to refuse a file of clues that was made from them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from espnet2_secap.data.io import read_captions
from espnet2_secap.data.text_file import plain_text
from espnet2_secap.decoder.options import ClueOptions
from espnet2_secap.errors import SecError, few, shorten
from espnet2_secap.inference.nearest import Neighbours
from espnet2_secap.inference.training_speech import TrainingSpeech, named_in_training
from espnet2_secap.metric.words import load_words, without_groups
from espnet2_secap.process.jobs import file_digest
from espnet2_secap.progress import progress
from espnet2_secap.tasks.attributes import DEFAULT_WORDS
from espnet2_secap.tasks.clues import clues_of
from espnet2_secap.tasks.experiment import read_config
from espnet2_secap.text.clues import Clues, read_clues, typed_clues
from espnet2_secap.text.roles import QUERIES, condition_of, reads_clues

if TYPE_CHECKING:
    import torch

PREDICTED, RETRIEVED, ORACLE = "predicted", "retrieved", "oracle"
LEAKED = 0.95  # share of the utterances whose clues are those of their references, from which a file is refused

# Ids of the utterances, ids of the audio that they are read from, and mean Q-Embedding (B, H) -> clues of each
ClueSource = Callable[[Sequence[str], Sequence[str], Optional["torch.Tensor"]], list[list[str]]]


class CluePlan:
    """What --clues asks for, checked before a model is loaded.

    Args:
        options: the source, and its numbers.
        train_config: config.yaml of the model.
        ids: of the set that is decoded; None: recordings that have no ids of a set, for which words may be given.
        references: captions of the set by people; they are read for oracle clues, and to check a file.

    Attributes:
        name: predicted, retrieved, oracle, file, words, or None.

    Raises:
        SecError: a model that reads no clues or cannot tell them, no references, a file that lacks an utterance or was
            made from the references.
    """

    def __init__(
        self,
        options: ClueOptions,
        train_config: str | Path,
        ids: Sequence[str] | None = None,
        references: str | Path | None = None,
    ):
        self.options, self.name = options, None
        self.table: dict[str, list[str]] = {}
        if options.clues is None:
            return
        self.said, self.train_config = f"--clues {shorten(options.clues)}", Path(train_config)
        trained = vars(read_config(train_config, {}))
        conf = trained.get("model_conf") or {}
        condition = condition_of(conf)
        if not reads_clues(condition):
            raise SecError(f"{self.said}: the model reads no clues (condition {', '.join(condition)}); leave it out")
        self.conf, self.find = conf, clues_of(conf, trained.get("clue_words"))
        given = "file" if ids is not None else "words"
        self.name = options.clues if options.clues in (PREDICTED, RETRIEVED, ORACLE) else given
        if self.name in (PREDICTED, RETRIEVED) and QUERIES not in condition:
            raise SecError(f"{self.said}: comes from the speech, which the model does not read; give a file, or none")
        if self.name == PREDICTED and not conf.get("attributes_weight"):
            raise SecError(
                f"{self.said}: the model has no head that predicts them (model_conf attributes_weight is 0 in"
                f" {train_config}); train with attributes_weight above 0, or give --clues {RETRIEVED}"
            )
        if self.name == RETRIEVED:
            self.speech = TrainingSpeech(self.said, None, train_config)
            self.captions = self._training_captions()
        elif self.name == ORACLE:
            self.table = self._oracle(ids, references)
        elif self.name == "file":
            self.table = self._of_file(ids, references)
        elif self.name == "words":
            if Path(options.clues).is_file():
                raise SecError(f"{self.said}: is a file; of recordings give their clues: --clues 'sad, slow'")
            self.words = typed_clues(options.clues)

    def made_from(self) -> list:
        """What the clues depend on beside options and model, for a fingerprint."""
        if self.name == RETRIEVED:
            return [file_digest(self.captions), self.speech.made_from()]
        return [self.table] if self.table else []

    def source(self, speech2caption, batch_size: int = 16) -> ClueSource | None:
        """The function that gives them.

        Args:
            speech2caption: the model (`Speech2Caption`).
            batch_size: training utterances that are encoded together.
        """
        if self.name == PREDICTED:
            words = self.conf.get("attributes_words", DEFAULT_WORDS)
            return Predicted(speech2caption.model.attributes, self.find, words, self.options.clues_confidence)
        if self.name == RETRIEVED:
            captions, options = read_captions(self.captions), self.options
            ids = [utt for utt in self.speech.ids if captions.get(utt)]
            if not ids:
                raise SecError(f"{self.said}: {self.captions} has no captions of {self.speech.folder}; train again")
            vectors = embedded(speech2caption, self.speech, ids, batch_size)
            near = Neighbours(captions, ids, vectors.numpy(), options.clues_neighbours)
            return Retrieved(near, self.find, options.clues_confidence)
        if self.name == "words":
            return lambda utts, audio, embedding: [self.words for _ in utts]
        return (lambda utts, audio, embedding: [self.table[utt] for utt in utts]) if self.name else None

    def _training_captions(self) -> Path:
        path, _ = named_in_training("caption", self.train_config) or (None, None)
        if path is None or not path.is_file():
            what = "names no captions of the training" if path is None else f"names {path}, which is not there"
            raise SecError(f"{self.said}: {self.train_config} {what}; give --clues none or predicted")
        return path

    def _oracle(self, ids: Sequence[str] | None, references: str | Path | None) -> dict[str, list[str]]:
        """Clues of the first reference, as in validation."""
        if ids is None:
            raise SecError(f"{self.said}: recordings have no references; give none, predicted, retrieved, or words")
        if references is None:
            raise SecError(f"{self.said}: the set has no captions; give --references FILE, their file")
        captions = read_captions(references)
        self._check_ids(references, captions, ids)
        return {utt: self.find.texts(captions[utt][0]) for utt in ids}

    def _of_file(self, ids: Sequence[str], references: str | Path | None) -> dict[str, list[str]]:
        path = self.options.clues
        if not Path(path).is_file():
            known = ", ".join(("none", PREDICTED, RETRIEVED, ORACLE))
            raise SecError(f'{self.said}: no such file; give one of {known}, or a file of lines `id ["clue", ...]`')
        table = read_clues(path)
        self._check_ids(path, table, ids)
        table = {utt: table[utt] for utt in ids}
        if references is not None:
            check_not_references(path, table, read_captions(references), self.find, references)
        return table

    def _check_ids(self, path: str | Path, table: Mapping[str, object], ids: Sequence[str]) -> None:
        lost = [utt for utt in ids if utt not in table]
        if lost:
            raise SecError(
                f"{self.said}: {path} has no line for {few(lost)} ({len(lost)} of {len(ids)} utterances); add them"
                + (", with [] where there are no clues" if self.name == "file" else "")
            )


def check_not_references(
    path: str | Path, table: Mapping[str, list[str]], captions: Mapping[str, list[str]], find: Clues, where: str | Path
) -> None:
    """Refuse clues that come from the references of what is decoded.

    They do where they are, in whatever order, the clues of one of an utterance's references or of all of these, or hold
    a whole reference, for nearly all utterances that have any. Fewer, which may be chance, are told in a note.

    Raises:
        SecError: they do.
    """
    given = {utt: set(map(plain_text, clues)) for utt, clues in table.items() if clues and captions.get(utt)}
    leaked = [utt for utt, clues in given.items() if _is_of(clues, captions[utt], find)]
    if given and len(leaked) >= LEAKED * len(given):
        raise SecError(
            f"--clues {path}: holds the clues of the references in {where} ({few(leaked)}; {len(leaked)} of"
            f" {len(given)} utterances), which no system may read; give --clues {ORACLE} for an upper bound"
        )
    if leaked:
        who = f"{len(leaked)} of {len(given)} utterances ({few(leaked)})"
        print(f"note: --clues {path}: {who} have just the clues of {where}")


def _is_of(clues: set[str], references: Sequence[str], find: Clues) -> bool:
    found = [set(find.texts(one)) for one in references]
    whole = {plain_text(one) for one in references}
    return clues in (*found, set().union(*found)) or any(one in clue for one in whole for clue in clues)


class Predicted:
    """Clues for the categories that the model's head predicts: of each the word that training captions say most often.

    Args:
        head: `AttributeHead` of the model.
        find: clues of the model, with their usual words.
        words: words file of the head's categories. Coarser ones ("_groups") give no clue of their own.
        confidence: least probability.
    """

    def __init__(self, head, find: Clues, words: str, confidence: float):
        self.head, self.confidence = head, confidence
        self.find = Clues(find.grammar, without_groups(load_words(words)), find.usual)

    def __call__(self, utts: Sequence[str], audio: Sequence[str], embedding: "torch.Tensor") -> list[list[str]]:
        """See `ClueSource`."""
        return [
            [
                self.find.of_category(attribute, category).text
                for attribute, (category, probability) in one.items()
                if attribute in self.find.attributes and probability >= self.confidence
            ]
            for one in self.head.predict(embedding)
        ]


class Retrieved:
    """Clues of the captions of the training utterances that are nearest by their mean Q-Embedding.

    SRGCap takes the clues of all five nearest. Here, since these contradict each other, each attribute gets the
    category with most of the weight (exp(cosine / 0.1), see `Neighbours`), in the word that most of it has; a word
    without a category counts by itself. An utterance is not its own neighbour.

    Args:
        near: the training utterances.
        find: clues of the model.
        confidence: least share of the weight.
    """

    def __init__(self, near: Neighbours, find: Clues, confidence: float):
        self.near, self.find, self.confidence = near, find, confidence

    def __call__(self, utts: Sequence[str], audio: Sequence[str], embedding: "torch.Tensor") -> list[list[str]]:
        """See `ClueSource`."""
        vectors = embedding.float().cpu().numpy()
        return [self._voted(weights) for weights in self.near.weights(vectors, audio)]

    def _voted(self, weights) -> list[str]:
        votes: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        shares: dict[tuple[str, str], float] = defaultdict(float)
        for at in weights.nonzero()[0]:
            clues = self.find(self.near.texts[at])
            for kind in {kind for clue in clues for kind in clue.kinds or (("", clue.text),)}:
                shares[kind] += weights[at]
            for clue in clues:
                for kind in clue.kinds or (("", clue.text),):
                    votes[kind][clue.text] += weights[at]
        found = []
        for attribute in (*self.find.attributes, ""):
            kinds = sorted((kind for kind in shares if kind[0] == attribute), key=lambda kind: (-shares[kind], kind))
            for kind in kinds if not attribute else kinds[:1]:
                if shares[kind] >= self.confidence:
                    found.append(max(votes[kind], key=votes[kind].get))
        return list(dict.fromkeys(found))


def embedded(speech2caption, speech: TrainingSpeech, ids: Sequence[str], batch_size: int) -> "torch.Tensor":
    """Mean Q-Embedding of training utterances, (N, H), on the CPU."""
    import torch

    from espnet2_secap.tasks.front_end import check_input

    utterances, model = speech.utterances, speech2caption.model
    check_input(speech.folder, utterances, model.encoder, speech2caption.train_args.front_end)
    found = {}
    batches = utterances.batches(ids, batch_size)
    for batch in progress(batches, desc=f"clues: {len(ids)} training utterances, {batch_size} a step"):
        vectors = speech2caption.mean_embedding([utterances.read(utt) for utt in batch])
        found |= dict(zip(batch, vectors.float().cpu(), strict=True))
    return torch.stack([found[utt] for utt in ids])


class Asked:
    """A source for the utterances of a batch, as a function of what is heard of them; keeps what it gave.

    Args:
        source: see `ClueSource`.
        utts: ids of the utterances.
        audio: ids of what is heard; of the utterances themselves if none.
    """

    def __init__(self, source: ClueSource, utts: Sequence[str], audio: Sequence[str] | None = None):
        self.source, self.utts, self.audio = source, utts, utts if audio is None else audio
        self.read: list[list[str]] = []

    def __call__(self, embedding: "torch.Tensor | None") -> list[list[str]]:
        """Mean Q-Embedding (B, H), None of a model that does not hear -> clues of each."""
        self.read = self.source(self.utts, self.audio, embedding)
        return self.read

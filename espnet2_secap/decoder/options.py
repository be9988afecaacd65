"""All decoding options, once: the programs' options, the keys of conf/decode.yaml and the arguments in Python."""

from dataclasses import dataclass, fields
from typing import Annotated

from espnet2_secap.cli_types import check_fields, option
from espnet2_secap.errors import SecError
from espnet2_secap.values import Count, Natural, Place, Range, Seed, Share

TRAINING = "training"  # as --candidates of a set: the captions that the model was trained on
Candidates = Annotated[int, Range(1, 10000)]  # captions per utterance


@dataclass(frozen=True)
class DecodingOptions:
    """How captions are searched for, in the terms of transformers' GenerationConfig.

    Raises:
        SecError: a value out of range, or values that exclude each other.
    """

    num_candidates: Candidates = option("captions per utterance", 1)
    beam_size: Annotated[int, Range(1, 1000)] = option(
        "hypotheses kept in beam search; 1: greedy search, or plain sampling", 1
    )
    sampling: bool = option("draw tokens at random; with beam_size > 1, within beams", False)
    min_length: Annotated[int, Range(0, 10000)] = option("least number of tokens in a caption", 3)
    max_length: Annotated[int, Range(1, 10000)] = option("greatest number of tokens in a caption", 50)
    top_k: Natural = option("sampling: draw from the k most probable tokens; 0: from all", 0)
    top_p: Annotated[float, Range(above=0, most=1)] = option(
        "nucleus sampling: draw from the smallest set of tokens whose probabilities sum to p", 1.0
    )
    temperature: Annotated[float, Range(0.0001, 1000)] = option(
        "sampling: divide the logits by this; above 1 the distribution is flatter", 1.0
    )
    repetition_penalty: Annotated[float, Range(0.001, 1000)] = option(
        "above 1: lower the score of tokens that the caption already has", 1.0
    )
    no_repeat_ngram_size: Natural = option("no n-gram of this size occurs twice in a caption; 0: no limit", 0)
    length_penalty: Annotated[float, Range(-100, 100)] = option(
        "beam search: exponent of the length; above 0 favours long captions", 1.0
    )
    early_stopping: bool = option(
        "beam search: end as soon as there are beam_size captions, instead of when no better one can come", False
    )
    forced_end: bool = option(
        "the token at max_length is the end, so that a caption cut there scores as a whole one", False
    )

    def __post_init__(self):
        check_fields(self)
        if self.min_length > self.max_length:
            raise SecError(f"--min_length {self.min_length}: is above --max_length {self.max_length}; lower it")
        if not self.sampling and self.num_candidates > self.beam_size:
            raise SecError(
                f"decoding: {self.num_candidates} candidates of beam_size {self.beam_size}; "
                "set beam_size to at least that number, or sampling: true"
            )

    def check_vocabulary(self, size: int) -> None:
        """Beam search goes on with the best 2 * beam_size tokens.

        Raises:
            SecError: the LM's vocabulary has not as many tokens.
        """
        if self.beam_size > 1 and 2 * self.beam_size > size:
            raise SecError(
                f"--beam_size {self.beam_size}: must be at most {size // 2}: half of the {size} tokens of the LM"
            )


@dataclass(frozen=True)
class AgreementOptions:
    """What the similarity of captions takes into account besides their n-grams; see inference/agreement.py.

    Raises:
        SecError: a value out of range.
    """

    agreement: Annotated[float, Range(0, 1000)] = option(
        "W: the similarity by which a caption is chosen is that of the texts plus, for each of --agreement_attributes,"
        " W times the F1 of the categories that two captions name; 0: that of the texts alone",
        0.0,
    )
    agreement_attributes: str = option(
        "for --agreement: attributes of the words file, in one argument", "emotion emotion_quadrant"
    )
    words: Place = option(
        "for --agreement: words that name emotions ...: zh, en, ja or a JSON file in that format (in a recipe those of"
        " the scores)",
        "zh",
    )

    def __post_init__(self):
        check_fields(self)
        if self.agreement and not self.attributes:
            raise SecError("--agreement_attributes: is empty; give attributes of --words, or --agreement 0")

    @property
    def attributes(self) -> list[str]:
        """The names in agreement_attributes, each once."""
        return list(dict.fromkeys(self.agreement_attributes.split()))

    @classmethod
    def names(cls) -> list[str]:
        """The names of the options."""
        return [field.name for field in fields(AgreementOptions)]


@dataclass(frozen=True)
class ClueOptions:
    """Where the clues come from that a model reads; see inference/clues.py.

    Raises:
        SecError: a value out of range.
    """

    clues: Place | None = option(
        "for a model whose condition reads clues: predicted (by its head, attributes_weight), retrieved (of the nearest"
        " training utterances' captions), oracle (of this set's own references: an upper bound), a file of lines"
        ' `id ["clue", ...]`, or none',
        None,
    )
    clues_neighbours: Count = option("for --clues retrieved: number of nearest training utterances", 5)
    clues_confidence: Annotated[float, Range(0, 1)] = option(
        "for --clues predicted and retrieved: give a category as a clue if its probability, or its share of the"
        " neighbours' weight, is at least this",
        0.5,
    )

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class SetOptions(ClueOptions, AgreementOptions, DecodingOptions):
    """Decoding options, and those of a whole set: the options of sec_inference and the keys of conf/decode.yaml.

    Raises:
        SecError: a value out of range.
    """

    batch_size: Count = option("utterances decoded together", 16)
    keep: Natural = option(
        "keep the N candidates with the highest mean similarity to all candidates (MBR decoding); 0: keep all", 0
    )
    best_of: Annotated[int, Range(0, 10000)] = option(
        "N: of N samples the one with the highest mean similarity to all is kept; takes the place of --sampling,"
        " --num_candidates and --keep, which are then true, N and 1. 0: these count",
        0,
    )
    beams: Annotated[int, Range(0, 1000)] = option(
        "for --keep: this many hypotheses of beam search besides; they do not depend on the seed", 0
    )
    weights: str = option(
        "for --keep: candidates count equally, or each distinct one by the model's probability of it",
        "equal",
        choices=("equal", "probability"),
    )
    candidates: Place | None = option(
        "for --keep: captions file of the training set (`training`: that of the model's config.yaml), never of a test"
        " set. Its captions, weighted by the model's probability of each, take the place of samples: nothing is drawn",
        None,
    )
    choose_from: str = option(
        "with --candidates: what is kept comes from these captions, from what the model generates (--beams, samples by"
        " --sampling true), or from both; what is generated has no weight of its own",
        "candidates",
        choices=("candidates", "generated", "all"),
    )
    posterior_temperature: Annotated[float, Range(0.0001, 1000)] = option(
        "for weights by probability: divide the captions' log-probabilities by this; above 1 more captions count",
        1.0,
    )
    posterior_per_token: bool = option(
        "for weights by probability: take the mean log-probability of a caption's tokens instead of the sum", False
    )
    posterior_prior: Natural = option(
        "with --candidates: K training utterances over which the mean p(c) of p(c | x) is taken; a caption's weight is"
        " then its count in the training set times p(c | x) / p(c), what the speech tells of it; 0: p(c | x) itself",
        0,
    )
    posterior_neighbours: Share = option(
        "with --candidates: share, in a caption's weight, of how near the training utterances that have it are, by the"
        " weights of nearest_caption; the model's probability has the rest; 0: the model alone",
        0.0,
    )
    similarity_model: Place | None = option(
        "for --keep: folder or hub name of a BERT whose embeddings are compared; character n-grams are if none", None
    )
    judge: Place | None = option(
        "for --keep: folder or hub name of a causal LM that tells how close two candidates are, asked in both orders;"
        " this takes the place of n-grams",
        None,
    )
    judge_prompt: Place | None = option(
        "for --judge: text file of a prompt with {first} and {second}; the package's in the language of the model's"
        " prompts if none",
        None,
    )
    judge_cache: Place | None = option("for --judge: file that keeps the answers", None)
    dtype: str | None = option(
        "of the decoder's weights; as the model's config.yaml has it if none. 16 bits are twice as fast on a GPU",
        None,
        choices=("float32", "bfloat16", "float16"),
    )
    prompt: str | None = option("instruction; the first of the training prompts if none", None)
    seed: Seed = option("of sampling and of --shuffled_audio_dir", 0)
    device: str = option("cpu, cuda or cuda:N", "cpu")

    def __post_init__(self):
        DecodingOptions.__post_init__(self)
        AgreementOptions.__post_init__(self)
        if self.clues and self.posterior_prior:
            raise SecError("--posterior_prior: is of what a model says without clues; leave it out, or --clues")
        if self.best_of:
            if self.candidates is not None or self.beams:
                raise SecError(f"--best_of {self.best_of}: is of samples; give neither --candidates nor --beams")
            for name, value in {"sampling": True, "num_candidates": self.best_of, "keep": 1}.items():
                object.__setattr__(self, name, value)  # frozen
        if self.candidates is None:
            most, said = self.num_candidates + self.beams, f"--num_candidates {self.num_candidates}"
            said += f" + --beams {self.beams}" if self.beams else ""
            if not 0 <= self.keep <= most:
                raise SecError(f"--keep {self.keep}: must be between 0 and {said}")
        self._check_weights()

    def _check_weights(self) -> None:
        """Options of the consensus that need or exclude each other."""
        given = {
            "--beams": self.beams,
            "--candidates": self.candidates,
            "--weights probability": self.by_probability,
            "--agreement": self.agreement,
            "--judge": self.judge,
        }
        for name, value in given.items():
            if value and not self.keep:
                raise SecError(f"--keep 0: {name} chooses among candidates; give --keep 1 or more")
        for name in ("similarity_model", "judge"):
            if self.by_probability and getattr(self, name):
                raise SecError(
                    f"--{name}: is for candidates of equal weight; leave it out, or --candidates and --weights"
                )
        if self.judge and self.similarity_model:
            raise SecError("--judge: takes the place of --similarity_model; give one of the two")
        if self.judge is None and (self.judge_prompt or self.judge_cache):
            raise SecError("--judge_prompt, --judge_cache: are for --judge FOLDER_OR_HUB_NAME; give it, or neither")
        if self.candidates is not None and self.choose_from == "candidates" and (self.sampling or self.beams):
            way, other = (
                ("--sampling true", "--sampling false") if self.sampling else (f"--beams {self.beams}", "no --beams")
            )
            raise SecError(f"--candidates: take the place of {way}; give {other}, or --choose_from all or generated")
        if self.choose_from != "candidates" and (self.candidates is None or not (self.beams or self.sampling)):
            raise SecError(
                f"--choose_from {self.choose_from}: needs --candidates, and --beams or --sampling true; give them"
            )
        for name in ("posterior_prior", "posterior_neighbours"):
            if getattr(self, name) and self.candidates is None:
                raise SecError(f"--{name} {getattr(self, name)}: is for the captions of --candidates; give them")

    @property
    def by_probability(self) -> bool:
        """Whether candidates are weighted by the model's probability of them."""
        return self.weights == "probability" or self.candidates is not None

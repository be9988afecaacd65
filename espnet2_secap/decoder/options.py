"""All decoding options, once: the programs' options, the keys of conf/decode.yaml and the arguments in Python."""

from dataclasses import dataclass

from espnet2_secap.cli_types import option
from espnet2_secap.errors import SecError


@dataclass(frozen=True)
class DecodingOptions:
    """How captions are searched for, in the terms of transformers' GenerationConfig.

    Raises:
        SecError: a value out of range, or values that exclude each other.
    """

    num_candidates: int = option("captions per utterance", 1)
    beam_size: int = option("hypotheses kept in beam search; 1: greedy search, or plain sampling", 1)
    sampling: bool = option("draw tokens at random; with beam_size > 1, within beams", False)
    min_length: int = option("least number of tokens in a caption", 3)
    max_length: int = option("greatest number of tokens in a caption", 50)
    top_k: int = option("sampling: draw from the k most probable tokens; 0: from all", 0)
    top_p: float = option("nucleus sampling: draw from the smallest set of tokens whose probabilities sum to p", 1.0)
    temperature: float = option("sampling: divide the logits by this; above 1 the distribution is flatter", 1.0)
    repetition_penalty: float = option("above 1: lower the score of tokens that the caption already has", 1.0)
    no_repeat_ngram_size: int = option("no n-gram of this size occurs twice in a caption; 0: no limit", 0)
    length_penalty: float = option("beam search: exponent of the length; above 0 favours long captions", 1.0)

    def __post_init__(self):
        for name, least in (("num_candidates", 1), ("beam_size", 1), ("min_length", 0), ("max_length", 1)):
            if getattr(self, name) < least:
                raise SecError(f"--{name} {getattr(self, name)}: must be at least {least}")
        for name in ("top_k", "no_repeat_ngram_size"):
            if getattr(self, name) < 0:
                raise SecError(f"--{name} {getattr(self, name)}: must be 0 or more")
        for name in ("temperature", "repetition_penalty"):
            if not getattr(self, name) > 0:
                raise SecError(f"--{name} {getattr(self, name)}: must be above 0")
        if not 0 < self.top_p <= 1:
            raise SecError(f"--top_p {self.top_p}: must be above 0 and at most 1")
        if self.min_length > self.max_length:
            raise SecError(f"--min_length {self.min_length}: is above --max_length {self.max_length}; lower it")
        if not self.sampling and self.num_candidates > self.beam_size:
            raise SecError(
                f"decoding: {self.num_candidates} candidates of beam_size {self.beam_size}; "
                "set beam_size to at least that number, or sampling: true"
            )


@dataclass(frozen=True)
class SetOptions(DecodingOptions):
    """Decoding options, and those of a whole set: the options of sec_inference and the keys of conf/decode.yaml.

    Raises:
        SecError: a value out of range.
    """

    batch_size: int = option("utterances decoded together", 16)
    keep: int = option(
        "keep the N candidates with the highest mean similarity to all candidates (MBR decoding); 0: keep all", 0
    )
    similarity_model: str | None = option(
        "for --keep: folder or hub name of a BERT whose embeddings are compared; character n-grams are if none", None
    )
    dtype: str | None = option(
        "of the decoder's weights; as the model's config.yaml has it if none. 16 bits are twice as fast on a GPU",
        None,
        choices=("float32", "bfloat16", "float16"),
    )
    prompt: str | None = option("instruction; the first of the training prompts if none", None)
    seed: int = option("of sampling and of --shuffled_audio_dir", 0)
    device: str = option("cpu, cuda or cuda:N", "cpu")

    def __post_init__(self):
        super().__post_init__()
        if self.batch_size < 1:
            raise SecError(f"--batch_size {self.batch_size}: must be at least 1")
        if not 0 <= self.keep <= self.num_candidates:
            raise SecError(f"--keep {self.keep}: must be between 0 and --num_candidates {self.num_candidates}")

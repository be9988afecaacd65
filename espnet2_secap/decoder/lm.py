"""What decoders share that are LMs of transformers: loading, freezing, LoRA, and log-probabilities in blocks."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import ClassVar, Literal

import torch
from torch.utils.checkpoint import checkpoint
from transformers import GenerationConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from espnet2_secap.decoder.abs_decoder import AbsDecoder, Divergence
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.pretrained import PretrainedPart, position_limit
from espnet2_secap.text.template import Segment
from espnet2_secap.text.tokenizer import build_tokenizer, check_vocabulary
from espnet2_secap.values import Dropout, Place

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BLOCK = 2**24  # logits that are in float32 at once: 64 MB


class LMDecoder(AbsDecoder):
    """An LM of transformers, frozen by default.

    Args:
        path: folder or hub name of the LM with its tokenizer.
        dtype: float32, bfloat16 or float16, of the weights; what is trained should be float32 (with AMP, if need be).
        lora: options of peft.LoraConfig, such as {r: 8, target_modules: [q_proj, v_proj]}; no LoRA if none.
        freeze: False trains the whole LM, and checkpoints then hold it.
        attn_implementation: eager, sdpa, flash_attention_2 or another of transformers; its own choice if none.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        dropout: of all embeddings that the LM reads in training, those of speech too.
        attention_dropout: of attention weights, instead of what the LM's configuration says (LLaMA: 0); of an LM that
            is trained (`freeze: false`).
    """

    task: ClassVar[str]  # of peft
    auto_class: ClassVar[str]  # of transformers

    def __init__(
        self,
        path: Place,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        lora: dict | None = None,
        freeze: bool = True,
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
        dropout: Dropout = 0.0,
        attention_dropout: Dropout | None = None,
    ):
        super().__init__()
        if dtype not in DTYPES:
            raise SecError(f"decoder_conf: dtype={dtype!r}, expected one of {', '.join(DTYPES)}")
        if not freeze and (lora is not None or dtype != "float32"):
            raise SecError("decoder_conf: freeze: false trains the whole LM, without lora and in float32 only")
        if attention_dropout is not None and freeze:
            raise SecError("decoder_conf: attention_dropout is of an LM that is trained; set freeze: false")
        self.dropout = dropout
        options = {"attn_implementation": attn_implementation} if attn_implementation else {}
        lm = self.load(path, dtype=DTYPES[dtype], **options)
        self.tokenizer = build_tokenizer(path)
        self.rows = lm.get_input_embeddings().weight.size(0)
        check_vocabulary(self.tokenizer, self.rows, path, "decoder_conf path", special=False)
        self.end_ids = [
            one for one in _end_ids(lm) if 0 <= one < self.rows
        ]  # some configurations name what is not there
        self.limit, self.has_table = position_limit(lm)
        own, lm.generation_config = lm.generation_config, GenerationConfig()  # decoding is what the options say
        self.prepare(lm, own)
        if gradient_checkpointing:
            self._recompute_layers(lm)
        if attention_dropout is not None:
            _set_attention_dropout(lm, attention_dropout)
        self.lm = PretrainedPart(lm)
        self.kept: list[PretrainedPart] = []  # a list: a module in it is in no state and no optimiser
        if lora is not None:
            self.lm.add_lora(lora, self.task)
        elif not freeze:
            lm.requires_grad_(True)

    def _recompute_layers(self, lm) -> None:
        """Keep no activations within the LM's layers in training, but compute them again in the backward pass.

        transformers' own way asks for layers in training mode, where those of a frozen LM would drop out.
        """
        layers = [one for one in lm.modules() if isinstance(one, GradientCheckpointingLayer)]
        if not layers:
            raise SecError(
                f"decoder_conf: gradient_checkpointing: {lm.config.model_type} has no layers for it; leave it out"
            )
        for layer in layers:
            layer.forward = partial(self._recomputed, layer.forward)

    def _recomputed(self, forward: Callable, *args, **kwargs):
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    @classmethod
    @abstractmethod
    def load(cls, path: str, **options):
        """The LM of a folder or hub name; `options` of from_pretrained."""

    @abstractmethod
    def prepare(self, lm, own) -> None:
        """Find out what decoding has to know of the LM, and refuse it where it cannot be the decoder.

        Args:
            lm: with a generation_config that asks for nothing.
            own: the generation_config of its folder.
        """

    def check_options(self, options: DecodingOptions) -> None:
        """See AbsDecoder: the beam must fit into the vocabulary."""
        options.check_vocabulary(self.lm.module.get_output_embeddings().weight.size(0))

    @classmethod
    def tokenize(cls, path: str, **_) -> Callable[[str], list[int]]:
        """See AbsDecoder; no special tokens are added."""
        return build_tokenizer(path).encode

    def embedding_size(self) -> int:
        """Width of the LM's input embeddings."""
        return self.lm.module.get_input_embeddings().weight.size(1)

    def _plain(self):
        """The LM itself, with what LoRA has put into it."""
        return getattr(self.lm.module, "get_base_model", lambda: self.lm.module)()

    def _dropped(self, vectors: torch.Tensor) -> torch.Tensor:
        """Embeddings with dropout, in training."""
        return torch.nn.functional.dropout(vectors, self.dropout) if self.dropout and self.training else vectors

    @abstractmethod
    def _hidden(self, segments: Sequence[Segment], caption: Segment) -> tuple[torch.Tensor, Callable]:
        """What each caption token is predicted from, (B, L, .), and a function from a part of it to logits."""

    def logits(self, segments: Sequence[Segment], caption: Segment, block: int | None = None) -> Iterator[torch.Tensor]:
        """See AbsDecoder; in the LM's dtype."""
        hidden, head = self._hidden(segments, caption)
        for part in hidden.split(block or hidden.size(1), dim=1):
            yield head(part)

    def log_probs(
        self, segments: Sequence[Segment], caption: Segment, read: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        """See AbsDecoder. At most BLOCK logits are in float32 at once, in the backward pass too."""
        hidden, head = self._hidden(segments, caption if read is None else Segment(read, caption.mask))

        def block(part: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return _own(head(part), ids, smoothing)

        return self._in_blocks(block, hidden, caption.content) * caption.mask

    def distilled(
        self,
        segments: Sequence[Segment],
        teacher: Sequence[Segment],
        caption: Segment,
        divergence: Divergence,
        read: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See AbsDecoder. The teacher is the LM as its folder gives it; blocks as in `log_probs`."""
        with self.as_pretrained():
            taught, teach = self._hidden(teacher, caption)
        hidden, head = self._hidden(segments, caption if read is None else Segment(read, caption.mask))

        def block(part: torch.Tensor, ids: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
            with self.as_pretrained():
                wanted = teach(known)
                of_teacher = _own(wanted, ids, 0.0)
            logits = head(part)
            return torch.stack([_own(logits, ids, smoothing), divergence(logits, wanted), of_teacher])

        found = self._in_blocks(block, hidden, caption.content, taught, copies=2)
        return tuple((found * caption.mask).unbind())

    @contextmanager
    def as_pretrained(self):
        """Within: the LM as its folder gives it, without gradients, dropout and LoRA."""
        training, trained = self.training, self.lm
        if self.kept:
            self.lm = self.kept[0].to(next(trained.parameters()).device)
        plain = getattr(self.lm.module, "disable_adapter", nullcontext)
        self.training = False  # of what is read; the LM's own dropout is off as long as it is not trained itself
        try:
            with torch.no_grad(), plain():
                yield
        finally:
            self.training, self.lm = training, trained

    def keep_pretrained(self) -> None:
        """Where the whole LM is trained, keep a frozen copy for `as_pretrained`, which no checkpoint holds."""
        if not self.kept and all(one.requires_grad for one in self.lm.parameters()):
            self.kept.append(PretrainedPart(copy.deepcopy(self.lm.module)))

    def _in_blocks(self, block: Callable, hidden: torch.Tensor, *others: torch.Tensor, copies: int = 1) -> torch.Tensor:
        """`block` of parts of `hidden` (B, L, .) and of others (B, L, ...) along L, joined in the last dimension.

        Args:
            copies: how often a block makes logits.
        """
        vocabulary = self.lm.module.get_output_embeddings().weight.size(0)
        size = max(1, BLOCK // (len(hidden) * vocabulary * copies))
        if size >= hidden.size(1):
            return block(hidden, *others)
        parts = zip(*(one.split(size, dim=1) for one in (hidden, *others)), strict=True)
        return torch.cat([checkpoint(block, *part, use_reentrant=False) for part in parts], dim=-1)


def _own(logits: torch.Tensor, ids: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Log-probabilities of ids (B, L) in logits (B, L, V), smoothed as in AbsDecoder.log_probs."""
    log_probs = logits.float().log_softmax(-1)
    own = log_probs.gather(2, ids[..., None]).squeeze(2)
    return (1 - smoothing) * own + smoothing * log_probs.mean(-1) if smoothing else own


def _set_attention_dropout(lm, value: float) -> None:
    """Set it where the LM has it: as `attention_dropout` of any module, else as `dropout` of one of attention."""
    found = []
    for one in lm.modules():
        names = ("attention_dropout", *(["dropout"] if "Attention" in type(one).__name__ else []))
        own = (name for name in names if isinstance(getattr(one, name, None), (int, float)))
        found += [(one, name) for name in own][:1]
    if not found:
        raise SecError(
            f"decoder_conf: attention_dropout: {lm.config.model_type} has none of this name; leave it out, or set the"
            " dropout in the LM's own config.json"
        )
    for layer, name in found:
        setattr(layer, name, value)


def _end_ids(lm) -> list[int]:
    """Where the LM's own configuration ends a text."""
    ends = lm.generation_config.eos_token_id if lm.generation_config is not None else lm.config.eos_token_id
    found = [] if ends is None else list(ends) if isinstance(ends, (list, tuple)) else [ends]
    if not all(type(one) is int for one in found):
        raise SecError(
            f"decoder_conf path: its generation_config.json or config.json has eos_token_id {ends!r}: must be an id or"
            " a list of ids"
        )
    return found


def ranked(sequences: list, scores: list[float], each: int) -> tuple[list[list], list[list[float]]]:
    """`each` neighbouring candidates to an utterance, the best first."""
    candidates, values = [], []
    for start in range(0, len(sequences), each):
        rows = sorted(range(start, start + each), key=lambda i: -scores[i])
        candidates.append([sequences[i] for i in rows])
        values.append([scores[i] for i in rows])
    return candidates, values


def until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    """The ids before the first end."""
    return ids[: next((at for at, one in enumerate(ids) if one in ends), len(ids))]

"""What writes the caption."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch

from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.text.template import Segment

Divergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of logits (..., V) from others, (...)


class AbsDecoder(torch.nn.Module, ABC):
    """Reads segments and writes a caption; it knows no roles (see text/template.py).

    Shapes: B utterances, L caption tokens (the end token included), V tokens of the vocabulary, H decoder width.

    Attributes:
        tokenizer: see text/tokenizer.py.
        end_ids: ids at which the LM's own configuration ends a text.
        rows: of its embedding; ids are below. None: not known.
        hard_limit: positions beyond which it cannot read; None: there are none.
        reads_caption: whether a caption stands behind what it is of, so that both share these positions.
        written: where they do not, what it writes before a caption.
    """

    tokenizer: object
    end_ids: Sequence[int] = ()
    rows: int | None = None
    hard_limit: int | None = None
    reads_caption: bool = True
    written: int = 0

    def check_options(self, options: DecodingOptions) -> None:
        """Raise a SecError if it cannot decode like this; asked before the first caption."""

    @classmethod
    @abstractmethod
    def tokenize(cls, **conf) -> Callable[[str], list[int]]:
        """A function text -> token ids, of the same configuration as the constructor; loads no weights."""

    @abstractmethod
    def embedding_size(self) -> int:
        """H, the width that vectors in segments must have."""

    def check_length(self, segments: Sequence[Segment], more: int | torch.Tensor = 0) -> None:
        """Raise a SecError where segments and a caption, `more` tokens or a mask (B, L), are longer than it reads."""

    @abstractmethod
    def log_probs(
        self, segments: Sequence[Segment], caption: Segment, read: torch.Tensor | None = None, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Teacher forcing: (B, L) log-probabilities of the caption's ids in nats, 0 where its mask is false.

        Args:
            segments, caption: what is read before, and the caption.
            read: ids (B, L) that are read in place of the caption's; what is predicted stays. A model gives it, and
                `smoothing`, only where an option asks for it.
            smoothing: share e of the mean log-probability of all V tokens in the output, (1 - e) log p(id) + e / V sum
                log p: label smoothing (Szegedy et al., CVPR 2016, Section 7).
        """

    def distilled(
        self,
        segments: Sequence[Segment],
        teacher: Sequence[Segment],
        caption: Segment,
        divergence: Divergence,
        read: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Teacher forcing, and how far it is from a teacher's: the pretrained LM, given other segments.

        Args:
            segments, caption, read, smoothing: see `log_probs`.
            teacher: what the teacher reads before the caption; it reads the caption itself.
            divergence: student's and teacher's logits -> (B, any number of positions).

        Returns:
            What `log_probs` gives; the divergence (B, L); the teacher's log-probabilities (B, L), which like the
            divergence are 0 where the mask is false.
        """
        raise SecError(f"decoder: {type(self).__name__} cannot teach itself; use causal_lm or seq2seq")

    def caption_log_probs(self, segments: Sequence[Segment], captions: Segment) -> torch.Tensor:
        """Log-probability of each of C captions behind what one utterance is: (C,) in nats, the end token included.

        Args:
            segments: of one utterance, (1, .).
            captions: ids (C, L), padded on the right.
        """
        size = len(captions.content)
        rows = [
            Segment(one.content.expand(size, *one.content.shape[1:]), one.mask.expand(size, -1)) for one in segments
        ]
        return self.log_probs(rows, captions).sum(1)

    @abstractmethod
    def logits(self, segments: Sequence[Segment], caption: Segment, block: int | None = None) -> Iterator[torch.Tensor]:
        """Logits (B, up to `block`, V) that predict the caption's ids, in blocks along L; all at once if none."""

    @abstractmethod
    def generate(
        self, segments: Sequence[Segment], options: DecodingOptions, ends: Sequence[int]
    ) -> tuple[list[list[list[int]]], list[list[float]]]:
        """Decode until an id of `ends`. Per utterance: the candidates' ids without the end, and scores, best first."""

"""Embeddings of captions and transcriptions, the input of the Q-Former's text branch."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from espnet2_secap.pretrained import PretrainedPart, is_causal, load_pretrained, load_text_model, try_out
from espnet2_secap.text.tokenizer import build_tokenizer, check_vocabulary, text_limit
from espnet2_secap.values import Count, Place


class AbsTextEncoder(torch.nn.Module, ABC):
    """Token ids (B, L) with mask (B, L), true = real -> embeddings (B, L, `output_size()`)."""

    @abstractmethod
    def output_size(self) -> int:
        """Width of an embedding."""

    @abstractmethod
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, L), (B, L) -> (B, L, output_size)."""

    @classmethod
    @abstractmethod
    def tokenize(cls, **conf) -> Callable[[str], list[int]]:
        """A function text -> token ids, of the same configuration as the constructor; loads no weights."""


class BertTextEncoder(AbsTextEncoder):
    """A frozen BERT-like encoder (paper: text2vec-base-chinese); its last hidden states.

    Args:
        path: folder or hub name; of an encoder-decoder the encoder is taken.
    """

    def __init__(self, path: Place):
        super().__init__()
        model = load_text_model(path, "text_encoder_conf path")
        rows = model.get_input_embeddings().weight.size(0)
        check_vocabulary(build_tokenizer(path), rows, path, "text_encoder_conf path")
        if try_out(model, f"text_encoder_conf path: {path}: {type(model).__name__} does not read ids alone", is_causal):
            logging.warning(
                f"text_encoder_conf path: {path}: {model.config.model_type} is a decoder: each token is embedded by the"
                " text before it alone; the papers use a BERT"
            )
        self.lm = PretrainedPart(model)

    def output_size(self) -> int:
        """Hidden size of the BERT."""
        return self.lm.module.config.hidden_size

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, L), (B, L) -> (B, L, hidden size)."""
        return self.lm.module(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    @classmethod
    def tokenize(cls, path: str) -> Callable[[str], list[int]]:
        """Text -> token ids with the special tokens ([CLS] ... [SEP]) that the encoder was trained with, cut to what
        it has positions for."""
        tokenizer, config = build_tokenizer(path), load_pretrained("AutoConfig", path, "text_encoder_conf path")
        longest = text_limit(config, None)
        return lambda text: tokenizer.encode_whole(text, longest) or _nothing(tokenizer)


class TokenEmbedding(AbsTextEncoder):
    """Trained token and position embeddings, for where no text encoder is at hand.

    Args:
        path: folder or hub name whose tokenizer cuts the text; the decoder's serves.
        embedding_size: width.
        max_length: tokens beyond it are cut off.
    """

    def __init__(self, path: Place, embedding_size: Count = 768, max_length: Count = 256):
        super().__init__()
        self.tokens = torch.nn.Embedding(build_tokenizer(path).vocab_size, embedding_size)
        self.positions = torch.nn.Embedding(max_length, embedding_size)
        torch.nn.init.normal_(self.tokens.weight, std=0.02)
        torch.nn.init.normal_(self.positions.weight, std=0.02)

    def output_size(self) -> int:
        """embedding_size."""
        return self.tokens.embedding_dim

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, L), (B, L) -> (B, L, embedding_size)."""
        return self.tokens(ids) + self.positions.weight[: ids.size(1)]

    @classmethod
    def tokenize(cls, path: str, max_length: int = 256, **_) -> Callable[[str], list[int]]:
        """Text -> token ids, at most `max_length`."""
        tokenizer = build_tokenizer(path)
        return lambda text: tokenizer.encode(text)[:max_length] or _nothing(tokenizer)


def _nothing(tokenizer) -> list[int]:
    """The ids of a text without words (laughter): one token, since attention over none is NaN."""
    return [next((one for one in (tokenizer.eos_id, tokenizer.bos_id) if one is not None), 0)]

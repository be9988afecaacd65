"""Embeddings of sentences and of their tokens by a BERT: what SIM1, BERTScore and SECap's re-ranking compare."""

import logging
from collections.abc import Iterator, Sequence

import torch

from espnet2_secap.errors import SecError
from espnet2_secap.masks import masked_mean
from espnet2_secap.pretrained import load_pretrained, load_text_model
from espnet2_secap.text.tokenizer import check_vocabulary, text_limit

UNKNOWN = 0.1  # share of tokens from which on it is told


class SentenceEncoder:
    """A BERT and its tokenizer; equal texts are embedded once, texts of like length together.

    Args:
        path: transformers folder or hub name, such as shibing624/text2vec-base-chinese-paraphrase.
        device: cpu, cuda or cuda:N.
        batch_size: sentences embedded together.
        layer: whose output is taken: 0 (token embeddings) to the number of layers; the last if none.
    """

    def __init__(self, path: str, device: str = "cpu", batch_size: int = 64, layer: int | None = None):
        self.tokenizer = load_pretrained("AutoTokenizer", path, "similarity model")
        self.model = load_text_model(path, "similarity model").to(device).eval()
        prepare_padding(self.tokenizer)
        check_vocabulary(self.tokenizer, self.model.get_input_embeddings().weight.size(0), path, "similarity model")
        layers = self.model.config.num_hidden_layers
        if layer is not None and not 0 <= layer <= layers:
            raise SecError(f"{path}: has the layers 0 to {layers}, not {layer}")
        self.max_length = text_limit(self.model.config, self.tokenizer)
        self.path, self.told = path, False
        self.device = device
        self.batch_size = batch_size
        self.layer = layer

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """n texts -> embeddings (n, H), on the CPU: means over the tokens, special ones included, as in text2vec."""
        found = {}
        for batch, hidden, mask, _ in self._batches(texts):
            found |= dict(zip(batch, masked_mean(hidden, mask).float().cpu(), strict=True))
        return torch.stack([found[text] for text in texts])

    def tokens(self, texts: Sequence[str]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Text -> unit vectors of its tokens (L, H), and which are no special tokens (L,); both on the CPU."""
        found = {}
        for batch, hidden, mask, special in self._batches(texts):
            hidden = torch.nn.functional.normalize(hidden.float(), dim=-1).cpu()
            for text, vectors, real, own in zip(batch, hidden, mask.bool().cpu(), special, strict=True):
                found[text] = vectors[real], ~own[real]
        return found

    @torch.no_grad()
    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[str], torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Texts, hidden states (B, L, H), mask (B, L), which tokens are special (B, L)."""
        unique = sorted(set(texts), key=len)
        self.told = self.told or tell_unknown(self.tokenizer, unique, self.path)
        for start in range(0, len(unique), self.batch_size):
            batch = unique[start : start + self.batch_size]
            inputs = self.tokenizer(
                batch,
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            if not inputs["input_ids"].size(1):  # empty texts, and a tokenizer that puts nothing around them
                inputs = {key: torch.ones(len(batch), 1, dtype=torch.long) for key in inputs}
                inputs["attention_mask"].zero_()
            special = inputs.pop("special_tokens_mask").bool()
            inputs = {key: value.to(self.device) for key, value in inputs.items()}
            mask = inputs["attention_mask"]
            inputs["attention_mask"] = mask | (mask.sum(1, keepdim=True) == 0)  # attention to nothing is no number
            if self.layer is None:
                hidden = self.model(**inputs).last_hidden_state
            else:
                hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer]
            yield batch, hidden, mask, special


def prepare_padding(tokenizer) -> None:
    """Let a tokenizer of transformers pad, to the right; a decoder-only LM's may have no token for it.

    Which one it is does not matter: what is padded is masked.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.padding_side = "right"


def tell_unknown(tokenizer, texts: Sequence[str], path: str) -> bool:
    """Warn if a tokenizer of transformers does not know the words of texts: what is unknown is embedded alike.

    A model of another language scores captions of equal length as equal.
    """
    ids = [one for text in texts for one in tokenizer.encode(text, add_special_tokens=False)]
    share = ids.count(tokenizer.unk_token_id) / max(1, len(ids))
    if share > UNKNOWN:
        logging.warning(
            f"{path}: {share:.0%} of the tokens of these texts are unknown to its tokenizer, so that it finds different"
            " texts alike; give a model of their language, with its whole vocabulary"
        )
    return share > UNKNOWN


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, H), (m, H) -> cosines (n, m)."""
    normal = torch.nn.functional.normalize
    return normal(a, dim=-1) @ normal(b, dim=-1).T

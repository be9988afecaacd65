"""Sentence embeddings of a BERT: what SIM1 and SECap's re-ranking compare captions by."""

from collections.abc import Sequence

import torch

from espnet2_secap.masks import masked_mean
from espnet2_secap.text.pretrained import load_pretrained


class SentenceEncoder:
    """Mean of a BERT's last hidden states over a sentence's tokens, special tokens included (text2vec's pooling).

    Args:
        path: transformers folder or hub name, such as shibing624/text2vec-base-chinese-paraphrase.
        device: cpu, cuda or cuda:N.
        batch_size: sentences embedded together.
    """

    def __init__(self, path: str, device: str = "cpu", batch_size: int = 64):
        self.tokenizer = load_pretrained("AutoTokenizer", path, "similarity model")
        self.model = load_pretrained("AutoModel", path, "similarity model").to(device).eval()
        longest = getattr(self.model.config, "max_position_embeddings", 512)
        self.max_length = min(longest, self.tokenizer.model_max_length)
        self.device = device
        self.batch_size = batch_size

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """n texts -> embeddings (n, H), on the CPU. Equal texts are embedded once."""
        unique = sorted(set(texts), key=len)
        found = {}
        for start in range(0, len(unique), self.batch_size):
            batch = unique[start : start + self.batch_size]
            inputs = self.tokenizer(
                batch, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
            ).to(self.device)
            hidden = self.model(**inputs).last_hidden_state  # (B, L, H)
            means = masked_mean(hidden, inputs["attention_mask"])
            found |= dict(zip(batch, means.float().cpu(), strict=True))
        return torch.stack([found[text] for text in texts])


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, H), (m, H) -> cosines (n, m)."""
    normal = torch.nn.functional.normalize
    return normal(a, dim=-1) @ normal(b, dim=-1).T

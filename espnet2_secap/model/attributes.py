"""The attributes that captions name (emotion, rate, ...) predicted from the Q-Embedding: a second task in training."""

from collections.abc import Mapping

import torch

from espnet2_secap.loss.soft import soft_cross_entropy

Counts = Mapping[str, Mapping[str, float]]


def class_names(counts: Counts) -> list[tuple[str, list[str]]]:
    """Attributes and their categories in the order of targets and logits."""
    return [(attribute, sorted(counts[attribute])) for attribute in sorted(counts)]


class AttributeHead(torch.nn.Module):
    """A linear layer on the mean Q-Embedding with a softmax for each attribute.

    Multi-task learning (Caruana, Machine Learning 1997): the bridge must keep what tells the categories apart.

    Args:
        counts: attribute -> category -> how many training utterances name it, fractions included; 0: none.
        input_size: H, width of the Q-Embedding.
        balanced: weight the categories of an attribute inversely to their counts, with mean 1 over the training set.
        prompt_size: width of the decoder's embeddings, for `prompt`; no such vectors if none.
    """

    def __init__(self, counts: Counts, input_size: int, balanced: bool = False, prompt_size: int | None = None):
        super().__init__()
        names = class_names(counts)
        self.attributes = [attribute for attribute, _ in names]
        self.categories = [categories for _, categories in names]
        self.sizes = [len(categories) for categories in self.categories]
        self.linear = torch.nn.Linear(input_size, sum(self.sizes))
        weights = []
        for attribute, categories in names:
            count = counts[attribute]
            mean = sum(count.values()) / len(categories)
            weights += [mean / count[one] if balanced and count[one] else 1.0 for one in categories]
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.embeddings = None
        if prompt_size is not None:
            self.embeddings = torch.nn.Parameter(torch.randn(sum(self.sizes), prompt_size) * 0.02)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Mean Q-Embedding (B, H) -> logits (B, C) of all categories, attribute after attribute."""
        return self.linear(embedding)

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean cross entropy in nats over the attributes that utterances name, and statistics.

        Args:
            logits: (B, C), of `forward`.
            target: (B, C), for each attribute the shares of its categories, or zeros where captions name none.

        Returns:
            The loss, which is 0 where nothing is named; attributes_loss, accuracy (share of the named attributes whose
            most probable category is one that the captions name) and accuracy_ATTRIBUTE; NaN where nothing is named.
        """
        total, weight, right, named, stats = logits.new_zeros(()), 0.0, 0.0, 0.0, {}
        parts = zip(*(part.split(self.sizes, dim=-1) for part in (logits, target, self.weights)), strict=True)
        for attribute, (scores, wanted, weights) in zip(self.attributes, parts, strict=True):
            part, part_weight = soft_cross_entropy(scores, wanted, weights)
            total, weight = total + part, weight + part_weight
            known = wanted.sum(1) > 0
            hit = (wanted.gather(1, scores.argmax(1, keepdim=True)).squeeze(1) > 0).sum()
            stats[f"accuracy_{attribute}"] = hit / known.sum()
            right, named = right + hit, named + known.sum()
        loss = total / weight.clamp(min=torch.finfo(weight.dtype).tiny)
        stats |= {"attributes_loss": torch.where(weight > 0, loss.detach(), torch.nan), "accuracy": right / named}
        return loss, stats

    @torch.no_grad()
    def predict(self, embedding: torch.Tensor) -> list[dict[str, tuple[str, float]]]:
        """Mean Q-Embedding (B, H) -> of each utterance the most probable category of every attribute, and how probable
        it is: {"emotion": ("angry", 0.7), ...}."""
        found: list[dict[str, tuple[str, float]]] = [{} for _ in embedding]
        for attribute, categories, scores in zip(
            self.attributes, self.categories, self(embedding).float().split(self.sizes, dim=-1), strict=True
        ):
            values, places = scores.softmax(-1).max(-1)
            for one, value, place in zip(found, values.tolist(), places.tolist(), strict=True):
                one[attribute] = (categories[place], value)
        return found

    def prompt(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) -> the expected embedding of each attribute, (B, A, prompt_size).

        The prediction is taken as it is: the loss of the captions does not change what it says.
        """
        expected = [
            scores.detach().softmax(-1).to(table.dtype) @ table
            for scores, table in zip(logits.split(self.sizes, dim=-1), self.embeddings.split(self.sizes), strict=True)
        ]
        return torch.stack(expected, dim=1)

"""How alike two captions are: the Dice coefficient of their character n-grams, in any script."""

from collections import Counter


def ngrams(text: str, order: int = 4) -> Counter:
    """Character n-grams of 1 to `order` characters with their counts; blanks do not count."""
    text = "".join(text.split())
    return Counter(text[i : i + n] for n in range(1, order + 1) for i in range(len(text) - n + 1))


def similarity(a: Counter, b: Counter) -> float:
    """Dice coefficient of two multisets of n-grams, 0 to 1; two empty ones are alike."""
    size = a.total() + b.total()
    return 2 * (a & b).total() / size if size else 1.0

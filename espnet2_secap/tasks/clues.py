"""Clues by a grammar and a words file, as configurations and programs name them."""

from collections.abc import Callable, Mapping

from espnet2_secap.metric.words import Categories, load_words
from espnet2_secap.text.clues import Clues, read_grammar

DEFAULT_GRAMMAR = "zh"  # of model_conf clues_grammar


def clues_by(grammar: str = DEFAULT_GRAMMAR, words: str | None = None) -> Clues:
    """What finds the clues of captions.

    Args:
        grammar: see `read_grammar`.
        words: words file whose categories are clues; that of the grammar's language if none. Coarser categories that
            join others ("_groups") give none of their own.

    Raises:
        SecError: no such grammar or words, or one of another form.
    """
    read = read_grammar(grammar)
    attributes = {name: one for name, one in load_words(words or read.words).items() if not one.parent}
    negations = next((one.negations for one in attributes.values()), ())
    own = {name: Categories(one, negations=negations) for name, one in read.attributes.items()}
    return Clues(read, own | attributes)


def clues_of(model_conf: Mapping) -> Clues:
    """The same of a model_conf: `clues_grammar` and `clues_words`."""
    return clues_by(model_conf.get("clues_grammar", DEFAULT_GRAMMAR), model_conf.get("clues_words"))


def clue_ids(clues: Clues, encode: Callable[[str], list[int]]) -> Callable[[list[str]], list[int]]:
    """A function clues -> token ids of their prompt by the decoder's tokenizer; no ids without any clue."""

    def ids(some: list[str]) -> list[int]:
        prompt = clues.grammar.prompt_of(some)
        return encode(prompt) if prompt else []

    return ids

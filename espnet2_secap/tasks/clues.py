"""Clues by a grammar and a words file, as configurations and programs name them."""

from collections.abc import Callable, Mapping, Sequence

from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import Categories, load_words, without_groups
from espnet2_secap.text.clues import Clues, clue_languages, read_clues, read_grammar
from espnet2_secap.text.roles import condition_of, reads_clues

DEFAULT_GRAMMAR = "zh"  # of model_conf clues_grammar


def clues_by(
    grammar: str = DEFAULT_GRAMMAR, words: str | None = None, usual: Mapping[str, Mapping[str, str]] | None = None
) -> Clues:
    """What finds the clues of captions.

    Args:
        grammar: see `read_grammar`.
        words: words file whose categories are clues; that of the grammar's language if none. Coarser categories that
            join others ("_groups") give none of their own.
        usual: see `Clues`.

    Raises:
        SecError: no such grammar or words, or one of another form.
    """
    read = read_grammar(grammar)
    attributes = without_groups(load_words(words or read.words))
    negations = next((one.negations for one in attributes.values()), ())
    own = {name: Categories(one, negations=negations) for name, one in read.attributes.items()}
    return Clues(read, own | attributes, usual)


def clues_of(model_conf: Mapping, usual: Mapping[str, Mapping[str, str]] | None = None) -> Clues:
    """The same of a model_conf: `clues_grammar` and `clues_words`."""
    return clues_by(model_conf.get("clues_grammar", DEFAULT_GRAMMAR), model_conf.get("clues_words"), usual)


def check_clues(model_conf: Mapping, paths: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """See that a training's clues are of the language of its captions, before the first step.

    Args:
        paths: of the training set, by name: "caption", and "clues" if they are read from a file.

    Returns:
        the usual words, which the decoder will have learned to read; none where only a teacher reads clues.

    Raises:
        SecError: a grammar or words with a mistake; no caption has any clue.
    """
    clues, of_file = clues_of(model_conf), "clues" in paths
    found = read_clues(paths["clues"]) if of_file else read_captions(paths["caption"])
    texts = [one for some in found.values() for one in some]
    if not of_file and not any(map(clues, texts)):
        raise SecError(
            f"{paths['caption']}: no caption has a clue by model_conf clues_grammar: {clues.grammar.name}; give the"
            f" grammar of their language ({', '.join(clue_languages())}, or a JSON file)"
        )
    return clues.usual_words(texts) if reads_clues(condition_of(model_conf)) else {}


def clue_ids(clues: Clues, encode: Callable[[str], list[int]]) -> Callable[[Sequence[str]], list[int]]:
    """A function clues -> token ids of their prompt by the decoder's tokenizer; no ids without any clue."""

    def ids(some: Sequence[str]) -> list[int]:
        prompt = clues.grammar.prompt_of(some)
        return encode(prompt) if prompt else []

    return ids

"""Which categories of a words file the captions of a training set name: the classes of the second task."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from espnet2_secap.data.io import read_captions
from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import Categories, load_words, named
from espnet2_secap.tasks.experiment import start_config

DEFAULT_WORDS = "zh"  # of model_conf attributes_words


def named_shares(captions: Sequence[str], categories: Categories) -> dict[str, float]:
    """Category -> its share of all naming of the attribute by the captions; empty where they name none."""
    found = Counter(one for caption in captions for one in named(caption, categories))
    total = sum(found.values())
    return {category: count / total for category, count in found.items()}


def count_attributes(captions_file: str, words: str, only: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Attribute -> category -> sum of its shares over the utterances of a training set.

    Categories that no caption names, and attributes with fewer than two that are named, are left out.

    Args:
        captions_file: of the training set.
        words: see `load_words`.
        only: attributes to take; all if empty.

    Raises:
        SecError: no attribute is left, or one of `only` is not in the words file.
    """
    attributes, captions = load_words(words), read_captions(captions_file)
    for attribute in only:
        if attribute not in attributes:
            raise SecError(
                f"model_conf attributes_only: the words {words} have no attribute {attribute!r}; they have"
                f" {', '.join(attributes)}"
            )
    attributes = {name: categories for name, categories in attributes.items() if not only or name in only}
    counts: dict[str, dict[str, float]] = {}
    for attribute, categories in attributes.items():
        total: Counter = Counter()
        for some in captions.values():
            total.update(named_shares(some, categories))
        if len(total) > 1:
            counts[attribute] = {category: round(total[category], 6) for category in sorted(total)}
    if not counts:
        raise SecError(
            f"model_conf attributes_weight: the captions of {captions_file} name no two categories of any attribute of"
            f" the words {words}; give model_conf attributes_words, or set attributes_weight: 0"
        )
    left_out = [attribute for attribute in attributes if attribute not in counts]
    if left_out:
        logging.info(f"attributes that the training captions do not tell apart are left out: {', '.join(left_out)}")
    return counts


def as_in_start(counts: dict[str, dict[str, float]], sources: Sequence[str], words: str) -> dict[str, dict[str, float]]:
    """The categories of a model that the training starts from, in its order, with the counts of this training set.

    Another set may name fewer categories, or others: what the head has learned is of those of its own set.

    Args:
        counts: of this training set, see `count_attributes`.
        sources: of --init_model; the last one with such a head counts.
        words: see `load_words`.

    Returns:
        `counts` where no source has a head.

    Raises:
        SecError: the words do not have a category of the start's head.
    """
    known = load_words(words)
    for source in reversed(sources):
        if there := (start_config(source, "attributes") or {}).get("attributes"):
            lost = [f"{name}: {one}" for name in there for one in there[name] if one not in known.get(name, ())]
            if lost:
                raise SecError(
                    f"--init_model {source}: its head tells {lost[0]}, which the words {words} do not have; give"
                    " model_conf attributes_words as there, or the parts to start from without attributes"
                )
            new = [f"{name}: {one}" for name in counts for one in counts[name] if one not in there.get(name, ())]
            if new:
                logging.warning(f"{source}: its head does not tell, and will not learn: {', '.join(new)}")
            return {name: {one: counts.get(name, {}).get(one, 0.0) for one in there[name]} for name in there}
    return counts


def attribute_targets(counts: Mapping[str, Mapping[str, float]], words: str) -> Callable[[Sequence[str]], np.ndarray]:
    """A function captions -> target (C,) of the categories of `counts`, in the order of `class_names`.

    For each attribute the shares of its categories, or zeros where the captions name none of them.
    """
    from espnet2_secap.model.attributes import class_names

    attributes, names = load_words(words), class_names(counts)

    def targets(captions: Sequence[str]) -> np.ndarray:
        values = []
        for attribute, categories in names:
            shares = named_shares(captions, attributes[attribute])
            total = sum(shares.get(one, 0.0) for one in categories) or 1.0  # validation may name what training does not
            values += [shares.get(one, 0.0) / total for one in categories]
        return np.array(values, dtype=np.float32)

    return targets

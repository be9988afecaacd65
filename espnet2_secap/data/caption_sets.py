"""Training sets with fewer captions than utterances: for corpora of which few are captioned."""

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from espnet2_secap.data.io import atomic_write, list_value, make_dir
from espnet2_secap.data.subsets import read_data_dir
from espnet2_secap.errors import SecError, few

CONFIG = "config.json"  # of features
MARK = ".caption_set"  # in the folders that are made here, and that may be made again


def choose_captioned(ids: Sequence[str], classes: Mapping[str, str], fraction: float, seed: int) -> list[str]:
    """The utterances whose captions are kept, sorted: of each category the same fraction, one at least.

    A draw depends on the seed and on the ids of the category alone, and a smaller fraction's are among a larger one's.

    Args:
        ids: all utterances.
        classes: id -> category; ids that are not there are a category of their own.
        fraction: 0 to 1; 0: none is kept.
        seed: of the draw.
    """
    members: dict[str, list[str]] = {}
    for utt in sorted(ids):
        members.setdefault(classes.get(utt, ""), []).append(utt)
    chosen = []
    for name, utts in members.items():
        random.Random(f"{seed} {name}").shuffle(utts)
        chosen += utts[: max(1, round(fraction * len(utts)))] if fraction else []
    return sorted(chosen)


def join_captions(
    captions: Mapping[str, Sequence[str]], kept: Collection[str], others: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Own captions of the utterances that keep them, `others` of the rest; what has neither is left out.

    Raises:
        SecError: `others` has utterances that are none of the set's.
    """
    if unknown := sorted(others.keys() - captions.keys()):
        raise SecError(f"{len(unknown)} utterances are none of the set's ({few(unknown)}); give captions of this set")
    joined = {utt: list(captions[utt]) for utt in captions if utt in kept}
    return joined | {utt: list(others[utt]) for utt in others if utt not in kept}


def write_caption_set(folder: str | Path, name: str, captions: Mapping[str, Sequence[str]]) -> Path:
    """A copy of a data directory, or of a set's features, of these utterances and with these captions; audio and
    features are named, not copied.

    Args:
        folder: of the set.
        name: of the new one, which is made beside it.
        captions: of its utterances.

    Raises:
        SecError: utterances are not in the folder; the name is the folder's own, or that of another set.
    """
    folder = Path(folder)
    if (output := folder.parent / name) == folder:
        raise SecError(f"{folder}: would be its own copy; give another --name")
    if output.exists() and not (output / MARK).is_file():
        raise SecError(f"{output}: is there, and is no set that was made like this; give another --name, or remove it")
    data = read_data_dir(folder)
    if missing := sorted(captions.keys() - set(data.ids())):
        raise SecError(f"{folder}: lacks {len(missing)} of the utterances ({few(missing)}); run stages 2 and 3 again")
    subset = data.subset(captions)
    if "captions" in subset.utterances:
        subset.utterances["captions"] = {utt: list_value(captions[utt]) for utt in captions}
    with atomic_write(make_dir(output) / MARK) as stream:
        stream.write(f"{folder}\n")
    subset.write(output)
    if (folder / CONFIG).is_file():
        with atomic_write(output / CONFIG) as stream:
            stream.write((folder / CONFIG).read_text(encoding="utf-8"))
    return output

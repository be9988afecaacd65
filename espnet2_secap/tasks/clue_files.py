"""Clues of whole corpora: of captions, of labels where there are no captions, or of a decoding; how many there are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from espnet2_secap.data.candidates import CandidateFile, decoded_file
from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.labels import EMOTIONS
from espnet2_secap.errors import SecError, few, shorten
from espnet2_secap.metric.score import TRUTH_FILES
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.text.clues import Clue, Clues

OTHER = "part of speech"  # how the tables call clues without a category


def clues_of_captions(captions: Mapping[str, Sequence[str]], find: Clues, which: str = "all") -> dict[str, list[str]]:
    """Clues of each utterance, in order of appearance.

    Args:
        captions: id -> captions.
        find: see `Clues`.
        which: "all" captions, or the "first".
    """
    some = {utt: own[:1] if which == "first" else own for utt, own in captions.items()}
    return {utt: list(dict.fromkeys(clue for one in own for clue in find.texts(one))) for utt, own in some.items()}


def clues_of_decoding(folder: str | Path) -> dict[str, list[str]]:
    """Id -> the clues that a model was given when it wrote the captions of a folder of sec_inference.

    Args:
        folder: the folder, or its candidates.jsonl.

    Raises:
        SecError: no such file, or it was decoded without clues.
    """
    found = CandidateFile(decoded_file(folder))
    clues = {row.id: row.clues for row in found.rows(found.ids)}
    if lost := [utt for utt, own in clues.items() if own is None]:
        raise SecError(f"{found.path}: {few(lost)}: was decoded without clues; decode again with --clues")
    return clues


def clues_of_labels(folder: str | Path, find: Clues) -> tuple[dict[str, list[Clue]], list[str]]:
    """Clues for the labels in utt2emo (else utt2emo_train), utt2rate, utt2volume, ... of a data directory.

    Returns:
        id -> clues, of all ids in these files; a note on each file whose labels name no category.

    Raises:
        SecError: no file of labels of the words' attributes, or one that cannot be read.
    """
    folder = Path(folder)
    files = {name: folder / TRUTH_FILES.get(name, f"utt2{name}") for name in find.attributes}
    if "emotion" in files:
        files["emotion"] = next((folder / name for name in EMOTIONS if (folder / name).is_file()), files["emotion"])
    tables = {name: read_kaldi(path) for name, path in files.items() if path.is_file()}
    if not tables:
        names = ", ".join(path.name for path in files.values())
        raise SecError(f"{folder}: has no labels that clues could be made of; expected one or more of {names}")
    labels: dict[str, dict[str, str]] = {}
    notes = []
    for name, table in tables.items():
        unknown = sorted({label for label in table.values() if not find.attributes[name].of_label(label)})
        if unknown:
            number = sum(label in unknown for label in table.values())
            notes.append(
                f"{files[name]}: {number} of {len(table)} labels name no category of {name}"
                f" ({few(list(map(shorten, unknown)))}) and give no clue"
            )
        for utt, label in table.items():
            labels.setdefault(utt, {})[name] = label
    return {utt: find.of_labels(own) for utt, own in labels.items()}, notes


def statistics(captions: Iterable[Sequence[Clue]]) -> dict:
    """What captions say by their clues.

    Args:
        captions: the clues of each.

    Returns:
        "captions": their number; "clues": mean number of clues; "without": share of captions that have none;
        "attributes": attribute -> {"coverage": share of captions that name it, "words": word -> captions that have it,
        the most frequent first}; clues without a category under "part of speech".
    """
    captions = list(captions)
    covered: Counter[str] = Counter()
    words: dict[str, Counter[str]] = {}
    for clues in captions:
        named = {}
        for clue in clues:
            for attribute in dict.fromkeys([name for name, _ in clue.kinds] or [OTHER]):
                named[attribute, clue.text] = None
        covered.update({attribute for attribute, _ in named})
        for attribute, word in named:
            words.setdefault(attribute, Counter())[word] += 1
    number = len(captions) or 1
    return {
        "captions": len(captions),
        "clues": fmean(map(len, captions)) if captions else 0.0,
        "without": sum(not clues for clues in captions) / number,
        "attributes": {
            name: {"coverage": covered[name] / number, "words": dict(sorted(table.items(), key=_by_count))}
            for name, table in sorted(words.items(), key=lambda item: (item[0] == OTHER, -covered[item[0]], item[0]))
        },
    }


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def corpora_table(found: Mapping[str, dict]) -> Table:
    """One line per corpus, of what `statistics` gave: clues per caption, and per cent of the captions by attribute."""
    names = list(dict.fromkeys(name for one in found.values() for name in one["attributes"]))
    rows = []
    for corpus, one in found.items():
        cover = [one["attributes"].get(name, {}).get("coverage", 0.0) for name in names]
        values = [f"{one['clues']:.2f}", *(f"{100 * value:.1f}" for value in (one["without"], *cover))]
        rows.append([Cell(corpus, code=True), Cell(str(one["captions"])), *map(Cell, values)])
    header = ["corpus", "captions", "clues each", "without any", *names]
    return Table(header, rows, set(range(1, len(header))))


def words_table(one: dict, top: int) -> Table:
    """The `top` most frequent clues of each attribute, of what `statistics` gave."""
    rows = []
    for name, values in one["attributes"].items():
        words = values["words"]
        shown = ", ".join(f"{word} {count}" for word, count in list(words.items())[:top])
        rows.append([Cell(name), Cell(f"{100 * values['coverage']:.1f}"), Cell(str(len(words))), Cell(shown)])
    return Table(["attribute", "% of captions", "words", "most frequent"], rows, {1, 2})

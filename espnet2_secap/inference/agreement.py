"""How far two captions name the same: the part of consensus that knows what the task is about.

Minimum Bayes risk decoding takes the hypothesis of the highest expected utility, and the utility may be that of the
task (Kumar & Byrne, HLT-NAACL 2004; Eikema & Aziz, EMNLP 2022). Two captions may share most of their characters and
name opposite emotions; F1 of the categories that they name counts this.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.data.candidates import DECODED
from espnet2_secap.decoder.options import AgreementOptions
from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import WORDS_DIR, Categories, load_words, named, word_languages
from espnet2_secap.process.jobs import file_digest


@dataclass(frozen=True)
class Agreement:
    """W * sum over attributes of F1(a, b) = 2 |a & b| / (|a| + |b|), a and b being the sets of categories that two
    captions name; 0 where neither names one.

    Args:
        weight: W.
        attributes: of `load_words`.
    """

    weight: float
    attributes: tuple[Categories, ...]

    def named(self, texts: Sequence[str]) -> list[list[list[str]]]:
        """For each attribute and each text the categories that it names, each once."""
        return [[named(text, categories) for text in texts] for categories in self.attributes]


def read_agreement(options: AgreementOptions) -> Agreement | None:
    """The agreement that --agreement, --agreement_attributes and --words ask for; None for --agreement 0.

    Raises:
        SecError: the words cannot be read, or have no such attribute.
    """
    if not options.agreement:
        return None
    words = load_words(options.words)
    for name in options.attributes:
        if name not in words:
            known = f"it has: {', '.join(words)}" if words else "it has none; give --words"
            raise SecError(f"--agreement_attributes {name}: --words {options.words} has no such attribute; {known}")
    return Agreement(options.agreement, tuple(words[name] for name in options.attributes))


def words_digest(options: AgreementOptions) -> str | None:
    """The content of --words, where there is a file and it is used."""
    if not options.agreement:
        return None
    path = WORDS_DIR / f"{options.words}.json" if options.words in word_languages() else Path(options.words)
    return file_digest(path) if path.is_file() else None


def options_of(folder: str | Path) -> AgreementOptions:
    """The options by which a decoding chose, from the header of its candidates.jsonl.

    Raises:
        SecError: there is no such file, or it has no header.
    """
    path = Path(folder) / DECODED
    if not path.is_file():
        raise SecError(f"--like {folder}: {path}: no such file; give the output folder of sec_inference")
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline()
    try:
        header = json.loads(first)["header"]
        values = {name: header[name] for name in AgreementOptions.names() if name in header}
    except (ValueError, KeyError, TypeError):
        raise SecError(f"--like {folder}: {path}: its first line has no header; run sec_inference again") from None
    try:
        return AgreementOptions(**values)  # those that an older version did not know are as it worked
    except SecError as err:
        raise SecError(f"--like {folder}: {path}: {err}") from err
